"""Errors of the HTTP API: code, status, message, and their responses."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from models import limits
from models.images import PhotoError
from serve.runtime import metrics
from serve.runtime.translated_errors import ErrorResponse
from serve.schemas import ErrorBody, ErrorCode, ErrorDetail, RejectedPhoto

STATUS: dict[ErrorCode, int] = {
    "unreadable_image": 400,
    "unreadable_archive": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "too_large": 413,
    "too_many_pixels": 413,
    "unsupported_type": 415,
    "invalid_request": 422,
    "no_face": 422,
    "too_few_photos": 422,
    "too_many_photos": 422,
    "bad_timestamp": 422,
    "rate_limited": 429,
    "feedback_quota": 429,
    "overloaded": 503,
    "model_unavailable": 503,
    "feedback_unavailable": 503,
    "jobs_unavailable": 503,
    "deadline_exceeded": 504,
    "pdf_unavailable": 501,
    "internal": 500,
}

# tests/serve/test_gateway.py compares these with the messages that are sent
EXAMPLES: dict[ErrorCode, str] = {
    "unreadable_image": "the photo is empty (0 bytes); send the file itself",
    "unreadable_archive": "the archive is damaged or truncated (File is not a zip file), and nothing of it "
    "is stored; pack and send it again",
    "unauthorized": "the request has no key; send Authorization: Bearer KEY or X-API-Key: KEY; "
    "the operator of this server gives keys",
    "forbidden": "/v1/lesion/batch needs the role bulk or admin, this key has predict; "
    "ask the operator of this server",
    "not_found": "there is no route GET /v1/lesions; /docs lists all routes",
    "method_not_allowed": "/v1/lesion does not support GET; /docs lists all routes",
    "not_acceptable": "the header Accept is 'text/html', a report is application/pdf or "
    "application/fhir+json; accept one of them",
    "too_large": f"the photo has 20.5 MB, at most {limits.MAX_PHOTO_BYTES / 1e6:g} MB are allowed; "
    "send a smaller or more compressed one",
    "too_many_pixels": "the PNG photo has 10000 x 6000 = 60.0 megapixels, at most 51 are allowed; "
    f"make it smaller or send it as JPEG, of which {limits.MAX_PHOTO_PIXELS / 1e6:g} are allowed",
    "unsupported_type": f"this is a web page, not a {limits.PHOTO_FORMAT_NAMES} photo; "
    "send the photo itself, not a page with it",
    "invalid_request": "query parameter top_k is '0': must be greater than or equal to 1",
    "no_face": "no face was found in any of the 3 photos; send photos that show the whole face "
    "from the front, in good light",
    "too_few_photos": f"1 photo was sent, at least {limits.MIN_SERIES_PHOTOS} are needed; "
    "add photos of the same face from other days",
    "too_many_photos": f"more than {limits.MAX_SERIES_PHOTOS} photos were sent; "
    f"send at most {limits.MAX_SERIES_PHOTOS}",
    "bad_timestamp": "taken_at[1] is 'monday', which is no ISO 8601 time; write 2026-03-01T09:30:00",
    "rate_limited": "more than 5 requests per second were sent with the key clinic, at once at most 10; "
    "try again in 1 s",
    "overloaded": "256 requests are in progress, the limit; try again in 2 s",
    "model_unavailable": "the model cannot be loaded; choose another one of /v1/models, or ask the operator",
    "feedback_quota": "199.8 MB of feedback that was sent from 192.0.2.7 are stored, at most 200 MB are "
    "allowed, and nothing of this one was stored; delete some by its receipt, or ask the operator of this "
    "server",
    "feedback_unavailable": "the feedback cannot be stored now; nothing of it was stored; try again later",
    "jobs_unavailable": "the jobs of this server cannot be reached now; try again later",
    "deadline_exceeded": f"no answer was ready within {limits.DEFAULT_DEADLINE_S:g} s; "
    "try again later or allow more time",
    "pdf_unavailable": "this server cannot write PDF: the package weasyprint is not installed; send Accept: "
    "application/fhir+json, or ask the operator to install the extra report (docs/operations.md, Reports)",
    "internal": "the server failed on this request; report it with its id 4f2a9c",
}


class ApiError(Exception):
    """Report a rejected request by a stable code and a message for people."""

    def __init__(self, code: ErrorCode, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.headers = dict(headers or {})


def model_unavailable(model: str, reason: str) -> ApiError:
    """Log why a model cannot be loaded; return an error without paths of the server."""
    logging.getLogger("skinserve").error("the model %s cannot be loaded: %s", model, reason)
    message = "the model cannot be loaded; choose another one of /v1/models, or ask the operator"
    return ApiError("model_unavailable", message)


def overloaded(message: str, retry_after_s: int) -> ApiError:
    """Return the error of a request over a limit, with ``Retry-After``."""
    headers = {"Retry-After": str(retry_after_s)}
    return ApiError("overloaded", f"{message}; try again in {retry_after_s} s", headers)


class QueueFullError(ApiError):
    """Report that the queues of a model's replicas are full; the gateway lowers its limit."""

    def __init__(self, retry_after_s: int) -> None:
        error = overloaded("the queue of photos is full", retry_after_s)
        super().__init__(error.code, str(error), error.headers)


def error_detail(error: ApiError | PhotoError) -> ErrorDetail:
    """Return code and message of an error as they are sent."""
    code = error.code
    if code not in get_args(ErrorCode):
        raise TypeError(f"{type(error).__name__} has the code {code!r}, which serve.schemas.ErrorCode lacks")
    rejected = error.rejected if isinstance(error, PhotoError) else ()
    photos = [
        RejectedPhoto(index=index, **error_detail(one).model_dump(include={"code", "message"}))
        for index, one in rejected
    ]
    return ErrorDetail(code=code, message=str(error), photos=photos or None)  # pyright: ignore[reportArgumentType]


def error_response(code: ErrorCode, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the response of an error, and count it."""
    return _detail_response(ErrorDetail(code=code, message=message), headers)


def _detail_response(detail: ErrorDetail, headers: Mapping[str, str] | None) -> JSONResponse:
    metrics.errors().inc(tags={"code": detail.code})
    challenge = {"WWW-Authenticate": "Bearer"} if detail.code == "unauthorized" else {}
    return ErrorResponse(detail, STATUS[detail.code], {**challenge, **(headers or {})})


def no_route(method: str, path: str) -> ApiError:
    """Return the error of a path that does not exist."""
    return ApiError("not_found", f"there is no route {method} {path[:100]}; /docs lists all routes")


def internal_error(error: BaseException, request_id: str) -> JSONResponse:
    """Log an unexpected error with the request id; return a response without traceback."""
    logging.getLogger("skinserve").error("request %s failed", request_id, exc_info=error)
    return error_response(
        "internal", f"the server failed on this request; report it with its id {request_id}"
    )


def register_error_handlers(app: FastAPI) -> None:
    """Send errors of the routes, of FastAPI and of Starlette with our body."""

    async def send_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ApiError | PhotoError)
        return _detail_response(error_detail(error), getattr(error, "headers", None))

    async def send_validation_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return error_response("invalid_request", _sentence(error.errors()))

    async def send_http_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        method, path = request.method, request.url.path[:100]
        if error.status_code == 404:
            return error_response("not_found", str(no_route(method, path)))
        if error.status_code == 405:
            message = f"{path} does not support {method}; /docs lists all routes"
            allowed = (error.headers or {}).get("Allow", "").replace("GET", "GET, HEAD")
            return error_response("method_not_allowed", message, {"Allow": allowed})
        return error_response("invalid_request", f"{error.detail}; /docs lists what each route needs")

    app.add_exception_handler(ApiError, send_error)
    app.add_exception_handler(PhotoError, send_error)
    app.add_exception_handler(RequestValidationError, send_validation_error)
    app.add_exception_handler(HTTPException, send_http_error)


def error_responses(*codes: ErrorCode) -> dict[int | str, dict[str, Any]]:
    """Return the error responses of a route for OpenAPI, with an example of each code."""
    responses: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        example = ErrorBody(error=ErrorDetail(code=code, message=EXAMPLES[code])).model_dump()
        entry = responses.setdefault(
            STATUS[code],
            {"model": ErrorBody, "description": "", "content": {"application/json": {"examples": {}}}},
        )
        entry["description"] = ", ".join(filter(None, [entry["description"], f"`{code}`"]))
        entry["content"]["application/json"]["examples"][code] = {"value": example}
    return responses


def _sentence(errors: Sequence[Any]) -> str:
    """Return a sentence that names at most three invalid parameters."""
    found: list[str] = []
    for error in errors[:3]:
        location, *names = (str(part) for part in error["loc"])
        what = error["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
        found.append(
            f"{location} parameter {'.'.join(names)} is {str(error.get('input'))[:40]!r}: must be {what}"
        )
    return "; ".join(found)
