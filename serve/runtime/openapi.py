"""The words of the OpenAPI document, and a page for it that loads nothing from another host."""

from datetime import datetime
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel

from serve.schemas import (
    DISCLAIMER,
    BatchLine,
    Box,
    DiagnosisScore,
    FoundFace,
    LesionAnswer,
    ModelName,
    PhotoReport,
    PredictAnswer,
    PredictRequest,
    ProgressAnswer,
)

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


def _without_definitions(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != "$defs"}


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
            "schema": _without_definitions(
                BatchLine.model_json_schema(ref_template="#/components/schemas/{model}")
            ),
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
    "2 to 30 frames, oldest first, each height x width x 3 numbers, RGB; here 2 frames of 1 x 2 pixels.",
    {
        "application/json": {
            "schema": PredictRequest.model_json_schema(),
            "example": {"img": [[[[203, 160, 141], [201, 158, 140]]], [[[205, 163, 146], [204, 161, 143]]]]},
        }
    },
)

_NEVUS = DiagnosisScore(name="Nevus", group="benign", probability=0.81)
_MELANOMA = DiagnosisScore(name="Melanoma", group="malignant", probability=0.12)

LESION_EXAMPLE = LesionAnswer(
    model=ModelName(name="lesion-reference", version="1"),
    malignant_probability=0.14,
    verdict="benign",
    threshold=0.5,
    diagnosis=_NEVUS,
    diagnoses=[_NEVUS, _MELANOMA],
)
PROGRESS_EXAMPLE = ProgressAnswer(
    model=ModelName(name="progress-reference", version="1"),
    verdict="improved",
    improved_probability=0.83,
    worsened_probability=0.17,
    order="exif",
    photos=[
        PhotoReport(
            index=1,
            taken_at=datetime(2026, 3, 1, 9, 30),
            face=FoundFace(box=Box(left=812, top=640, right=1790, bottom=1905), confidence=0.999),
            improved_probability_so_far=None,
        ),
        PhotoReport(
            index=0, taken_at=datetime(2026, 4, 2, 9, 12), face=None, improved_probability_so_far=None
        ),
        PhotoReport(
            index=2,
            taken_at=datetime(2026, 5, 1, 8, 55),
            face=FoundFace(box=Box(left=790, top=655, right=1761, bottom=1898), confidence=0.998),
            improved_probability_so_far=0.83,
        ),
    ],
)
PREDICT_EXAMPLE = PredictAnswer(prob_class=1, negative_prob=0.17, positive_prob=0.83)


def answered(example: BaseModel) -> dict[int | str, dict[str, Any]]:
    """Show what a route answers when all is well."""
    return {200: {"content": {"application/json": {"example": example.model_dump(mode="json")}}}}


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
