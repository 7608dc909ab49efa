"""The errors of the HTTP API: one body, one status for each code, and a sentence that says what to do."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from models.images import PhotoError
from serve.runtime import metrics
from serve.schemas import ErrorBody, ErrorCode, ErrorDetail

STATUS: dict[ErrorCode, int] = {
    "unreadable_image": 400,
    "not_found": 404,
    "method_not_allowed": 405,
    "too_large": 413,
    "too_many_pixels": 413,
    "unsupported_type": 415,
    "invalid_request": 422,
    "no_face": 422,
    "too_few_photos": 422,
    "too_many_photos": 422,
    "bad_timestamp": 422,
    "overloaded": 503,
    "deadline_exceeded": 504,
    "internal": 500,
}

_EXAMPLES: dict[ErrorCode, str] = {
    "unreadable_image": "the photo is empty (0 bytes); send the file itself",
    "not_found": "there is nothing at GET /v2/lesion; /docs lists what there is",
    "method_not_allowed": "GET is not possible at /v1/lesion; /docs lists what is",
    "too_large": "the photo has 31.0 MB, at most 20 MB are allowed; send a smaller or more compressed one",
    "too_many_pixels": "the photo has 10000 x 6000 = 60.0 megapixels, at most 50 are allowed",
    "unsupported_type": "this is a web page, not a JPEG, PNG or WebP image; save it as JPEG and send that",
    "invalid_request": "query parameter top_k is 0: must be greater than or equal to 1",
    "no_face": "no face was found in any of the 3 photos; send photos that show the whole face",
    "too_few_photos": "1 photo was sent, at least 2 are needed; add photos of the same face from other days",
    "too_many_photos": "more than 30 photos were sent; send at most 30",
    "bad_timestamp": "taken_at[1] is 'monday', which is no ISO 8601 time; write 2026-03-01T09:30:00",
    "overloaded": "the server has 64 requests in work and takes no more; try again in 2 s",
    "deadline_exceeded": "no answer was ready within 60 s; try again later, send less, or allow more time",
    "internal": "the server failed on this request; report it with its id 4f2a9c",
}


class ApiError(Exception):
    """A refusal with its code; ``str(error)`` is the message for people."""

    def __init__(self, code: ErrorCode, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.headers = dict(headers or {})


def overloaded(message: str, retry_after_s: int) -> ApiError:
    """Refuse because there is too much to do; the message ends by saying when to come back."""
    headers = {"Retry-After": str(retry_after_s)}
    return ApiError("overloaded", f"{message}; try again in {retry_after_s} s", headers)


class QueueFullError(ApiError):
    """A stage is ``overloaded``: its queue is full, so a gateway should let fewer in."""

    def __init__(self, retry_after_s: int) -> None:
        refusal = overloaded("the queue of photos is full", retry_after_s)
        super().__init__(refusal.code, str(refusal), refusal.headers)


def error_detail(error: ApiError | PhotoError) -> ErrorDetail:
    """Name the code and message of a refusal."""
    code = error.code
    if code not in get_args(ErrorCode):
        raise TypeError(f"{type(error).__name__} has the code {code!r}, which serve.schemas.ErrorCode lacks")
    return ErrorDetail(code=code, message=str(error))  # pyright: ignore[reportArgumentType]


def error_response(code: ErrorCode, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Build the one kind of error answer, and count it."""
    metrics.count_error(code)
    body = ErrorBody(error=ErrorDetail(code=code, message=message))
    return JSONResponse(body.model_dump(), status_code=STATUS[code], headers=dict(headers or {}))


def internal_error(error: BaseException, request_id: str) -> JSONResponse:
    """Log a failure of ours under its request id, and answer that id without the traceback."""
    logging.getLogger("skinserve").error("request %s failed", request_id, exc_info=error)
    return error_response(
        "internal", f"the server failed on this request; report it with its id {request_id}"
    )


def register_error_handlers(app: FastAPI) -> None:
    """Answer every refusal of the routes, of FastAPI and of Starlette with our body."""

    async def refuse(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ApiError | PhotoError)
        detail = error_detail(error)
        return error_response(detail.code, detail.message, getattr(error, "headers", None))

    async def refuse_invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return error_response("invalid_request", _sentence(error.errors()))

    async def refuse_http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        method, path = request.method, request.url.path[:100]
        if error.status_code == 404:
            return error_response(
                "not_found", f"there is nothing at {method} {path}; /docs lists what there is"
            )
        if error.status_code == 405:
            message = f"{method} is not possible at {path}; /docs lists what is"
            return error_response("method_not_allowed", message, error.headers)
        return error_response("invalid_request", f"{error.detail}; /docs says what is needed")

    app.add_exception_handler(ApiError, refuse)
    app.add_exception_handler(PhotoError, refuse)
    app.add_exception_handler(RequestValidationError, refuse_invalid)
    app.add_exception_handler(HTTPException, refuse_http)


def error_responses(*codes: ErrorCode) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of a route for OpenAPI, with an example of each code."""
    responses: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        example = ErrorBody(error=ErrorDetail(code=code, message=_EXAMPLES[code])).model_dump()
        entry = responses.setdefault(
            STATUS[code],
            {"model": ErrorBody, "description": "", "content": {"application/json": {"examples": {}}}},
        )
        entry["description"] = ", ".join(filter(None, [entry["description"], f"`{code}`"]))
        entry["content"]["application/json"]["examples"][code] = {"value": example}
    return responses


def _sentence(errors: Sequence[Any]) -> str:
    """Say in words which parameters were wrong, at most three of them."""
    found: list[str] = []
    for error in errors[:3]:
        place, *names = (str(part) for part in error["loc"])
        what = error["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
        found.append(
            f"{place} parameter {'.'.join(names)} is {str(error.get('input'))[:40]!r}: must be {what}"
        )
    return "; ".join(found)
