"""The OpenAPI document: parts that no task owns, and a page for it without files of other hosts."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel

from serve.schemas import API_KEY_HEADER, DISCLAIMER, ErrorCode, LoadedModel

API_VERSION = "1"

_DESCRIPTION = f"""{DISCLAIMER}

Every error outside `/v2` is `{{"error": {{"code", "message"}}}}`. An error about photos of `POST
/v1/progress` lists each of them in `photos`, with `index`, `code` and `message`. The code is stable; the
message says what was found, what is needed and what to do. Messages of errors and reasons are in English; a
request whose `Accept-Language` prefers Arabic, German, Hindi, Portuguese or Spanish gets shorter ones in
that language, which `Content-Language` names. Every response has an `X-Request-ID`, yours if the request
has one (letters, digits, `.`, `_`, `-`). `x-request-timeout-seconds` sets the deadline of a request. Photos
stay in memory: they are never written to a disk, and nothing about them is logged. Exceptions are a photo
that is sent with feedback and with `photo_consent=true`, and the photos of an archive until its job has
ended."""

_SECURITY_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "a key of this server's keys.yaml, or a token (JWT) of the issuer that it names",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": API_KEY_HEADER, "description": "the same"},
}
HEALTH_PATHS = ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")
"""Answered without a key, always."""

CACHEABLE_PATHS = ("/docs/static/",)
"""Prefixes of paths that are not about a photo and large."""

BINARY = {"type": "string", "format": "binary"}
"""Schema of a file."""
ONE_PHOTO: tuple[ErrorCode, ...] = (
    "unreadable_image",
    "too_large",
    "too_many_pixels",
    "unsupported_type",
    "invalid_request",
)
"""Errors of a route that rejects the whole request for one photo."""
ANY_ROUTE: tuple[ErrorCode, ...] = (
    "unauthorized",
    "forbidden",
    "rate_limited",
    "overloaded",
    "deadline_exceeded",
    "internal",
)
"""Errors of every route that calls a model."""
CHOSEN_MODEL: tuple[ErrorCode, ...] = ("not_found", "model_unavailable")
"""Errors of the query parameter ``model``."""


def request_body(description: str, content: dict[str, Any]) -> dict[str, Any]:
    """Describe a request body by media type, as ``openapi_extra`` of a route."""
    return {"requestBody": {"required": True, "description": description, "content": content}}


def multipart_form(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    """Describe the fields of a multipart form."""
    return {"schema": {"type": "object", "properties": properties, "required": required}}


def json_response(example: BaseModel) -> dict[int | str, dict[str, Any]]:
    """Describe the JSON response of a route by an example."""
    return {200: {"content": {"application/json": {"example": example.model_dump(mode="json")}}}}


def new_app(tasks: Mapping[str, str], *, needs_key: bool = False) -> FastAPI:
    """Create the API without routes.

    Args:
        tasks: description of each task, by its tag and kind of checkpoint.
        needs_key: whether routes other than health need a key.
    """
    tags = {
        **tasks,
        "feedback": "Was an answer right? Stored with consent only, where the operator wants it.",
        "jobs": "Many photos of an archive, a folder or a bucket, scored in the background.",
        "open inference": "Open Inference Protocol v2, as KServe and Triton: errors are "
        '`{"error": "code: message"}`. See docs/open-inference.md.',
        "server": "Which models are loaded, and whether they answer.",
    }
    return _Api(
        title="skinserve",
        version=API_VERSION,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        openapi_tags=[{"name": name, "description": description} for name, description in tags.items()],
        kinds=list(tasks),
        needs_key=needs_key,
    )


def add_docs(app: FastAPI) -> None:
    """Serve Swagger UI at ``/docs`` from the files of the package fastapi-offline, not from a CDN."""
    app.mount("/docs/static", StaticFiles(directory=str(files("fastapi_offline") / "static")))

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url="openapi.json",  # relative: a proxy in front may add a prefix
            title="skinserve API",
            swagger_js_url="docs/static/swagger-ui-bundle.js",
            swagger_css_url="docs/static/swagger-ui.css",
            swagger_favicon_url="docs/static/favicon.png",
        )
        page.headers["Content-Security-Policy"] = (
            "default-src 'self'; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'; "
            "img-src 'self' data:; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
        )
        return page


class _Api(FastAPI):
    """List the registered tasks as the values of ``LoadedModel.kind``, and the kinds of keys."""

    def __init__(self, *, kinds: Sequence[str], needs_key: bool, **options: Any) -> None:
        super().__init__(**options)
        self._kinds = list(kinds)
        self._needs_key = needs_key

    def openapi(self) -> dict[str, Any]:
        """Return the document; FastAPI caches it."""
        document = super().openapi()
        model = document["components"]["schemas"][LoadedModel.__name__]
        model["properties"]["kind"]["enum"] = self._kinds
        document["components"]["securitySchemes"] = _SECURITY_SCHEMES
        document["security"] = [
            *([] if self._needs_key else [{}]),
            *({name: []} for name in _SECURITY_SCHEMES),
        ]
        for path in HEALTH_PATHS:
            document["paths"][path]["get"]["security"] = []
        return document
