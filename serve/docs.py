"""The words of the OpenAPI document, and a page for it that loads nothing from another host."""

from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from serve.schemas import DISCLAIMER, BatchLine

API_VERSION = "1"

_DESCRIPTION = f"""{DISCLAIMER}

Every error is `{{"error": {{"code", "message"}}}}`: the code is stable, the message says what was found, what
is needed and what to do. Every answer has an `X-Request-ID`; send your own (letters, digits, `.`, `_`, `-`)
or take ours. With `x-request-timeout-seconds` a client says how long it waits. Photos stay in memory, are
never written to a disk and leave no trace in the logs."""

_BINARY = {"type": "string", "format": "binary"}


def _form(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"schema": {"type": "object", "properties": properties, "required": required}}


def _body(description: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "description": description, "content": content}}


LESION_BODY = _body(
    "One photo of one spot, JPEG, PNG or WebP, at most 20 MB and 50 megapixels.",
    {
        "multipart/form-data": _form({"file": _BINARY}, ["file"]),
        "image/jpeg": {"schema": _BINARY},
        "image/png": {"schema": _BINARY},
        "image/webp": {"schema": _BINARY},
    },
)
BATCH_BODY = _body(
    "Up to 64 photos, at most 20 MB each and 200 MB together.",
    {"multipart/form-data": _form({"files": {"type": "array", "items": _BINARY, "maxItems": 64}}, ["files"])},
)
BATCH_LINES = {
    "description": "NDJSON: a line for each file as it finishes, with `index` and either `result` or `error`",
    "content": {
        "application/x-ndjson": {
            "schema": BatchLine.model_json_schema(ref_template="#/components/schemas/{model}"),
            "example": '{"index": 1, "error": {"code": "unreadable_image", "message": "the photo is empty '
            '(0 bytes); send the file itself"}}\n',
        }
    },
}
PROGRESS_BODY = _body(
    "2 to 30 photos of one face; `taken_at` for none or for each, ISO 8601, in the order of the files.",
    {
        "multipart/form-data": _form(
            {
                "files": {"type": "array", "items": _BINARY, "minItems": 2, "maxItems": 30},
                "taken_at": {
                    "type": "array",
                    "items": {"type": "string", "examples": ["2026-03-01T09:30:00"]},
                    "maxItems": 30,
                },
            },
            ["files"],
        )
    },
)
PREDICT_BODY = _body(
    "Frames x height x width x 3 numbers from 0 to 255, RGB, 2 to 30 frames, oldest first.",
    {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "img": {
                        "type": "array",
                        "minItems": 2,
                        "maxItems": 30,
                        "items": {
                            "type": "array",
                            "items": {
                                "type": "array",
                                "items": {
                                    "type": "array",
                                    "minItems": 3,
                                    "maxItems": 3,
                                    "items": {"type": "number", "minimum": 0, "maximum": 255},
                                },
                            },
                        },
                    }
                },
                "required": ["img"],
                "additionalProperties": False,
            }
        }
    },
)


def new_app() -> FastAPI:
    """Start an API that has its title and words but no routes yet."""
    return FastAPI(
        title="skinserve",
        version=API_VERSION,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        openapi_tags=[
            {"name": "lesion", "description": "Is this spot harmful, and what is it?"},
            {"name": "progress", "description": "Is this face getting better?"},
            {"name": "server", "description": "What is loaded, and whether it answers."},
        ],
    )


def add_docs(app: FastAPI) -> None:
    """Serve Swagger UI at ``/docs`` from the files of the package fastapi-offline, not from a CDN."""
    app.mount("/docs/static", StaticFiles(directory=str(files("fastapi_offline") / "static")))

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="skinserve API",
            swagger_js_url="/docs/static/swagger-ui-bundle.js",
            swagger_css_url="/docs/static/swagger-ui.css",
            swagger_favicon_url="/docs/static/favicon.png",
        )
        page.headers["Content-Security-Policy"] = (
            "default-src 'self'; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'; "
            "img-src 'self' data:"
        )
        return page
