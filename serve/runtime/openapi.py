"""The OpenAPI document: descriptions and examples, and a page for it without files of other hosts."""

from datetime import datetime
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel

from models.limits import (
    MAX_BATCH_PHOTOS,
    MAX_PHOTO_BYTES,
    MAX_PHOTO_PIXELS,
    MAX_REQUEST_BYTES,
    MAX_SERIES_PHOTOS,
    MIN_SERIES_PHOTOS,
)
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

Every error is `{{"error": {{"code", "message"}}}}`. The code is stable; the message says what was found, what
is needed and what to do. Every response has an `X-Request-ID`, yours if the request has one (letters, digits,
`.`, `_`, `-`). `x-request-timeout-seconds` sets the deadline of a request. Photos stay in memory: they are
never written to a disk, and nothing about them is logged."""

_BINARY = {"type": "string", "format": "binary"}
_PHOTO_MB = MAX_PHOTO_BYTES / 1e6
_SERIES = f"{MIN_SERIES_PHOTOS} to {MAX_SERIES_PHOTOS}"


def _form(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"schema": {"type": "object", "properties": properties, "required": required}}


def _body(description: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "description": description, "content": content}}


def _without_definitions(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != "$defs"}


LESION_BODY = _body(
    f"One photo of one lesion, JPEG, PNG or WebP, at most {_PHOTO_MB:g} MB and "
    f"{MAX_PHOTO_PIXELS / 1e6:g} megapixels.",
    {
        "multipart/form-data": _form({"file": _BINARY}, ["file"]),
        "image/jpeg": {"schema": _BINARY},
        "image/png": {"schema": _BINARY},
        "image/webp": {"schema": _BINARY},
    },
)
BATCH_BODY = _body(
    f"Up to {MAX_BATCH_PHOTOS} photos, at most {_PHOTO_MB:g} MB each and "
    f"{MAX_REQUEST_BYTES / 1e6:g} MB together.",
    {
        "multipart/form-data": _form(
            {"files": {"type": "array", "items": _BINARY, "maxItems": MAX_BATCH_PHOTOS}}, ["files"]
        )
    },
)
BATCH_LINES = {
    "description": "NDJSON: one line per file as it finishes, with `index` and either `result` or `error`",
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
    f"{_SERIES} photos of one face; `taken_at` for none or for each, ISO 8601, in the order of the files.",
    {
        "multipart/form-data": _form(
            {
                "files": {
                    "type": "array",
                    "items": _BINARY,
                    "minItems": MIN_SERIES_PHOTOS,
                    "maxItems": MAX_SERIES_PHOTOS,
                },
                "taken_at": {
                    "type": "array",
                    "items": {"type": "string", "examples": ["2026-03-01T09:30:00"]},
                    "maxItems": MAX_SERIES_PHOTOS,
                },
            },
            ["files"],
        )
    },
)
PREDICT_BODY = _body(
    f"{_SERIES} frames, oldest first, each height x width x 3 numbers, RGB. "
    "The example has 2 frames of 1 x 2 pixels.",
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
    """Return the successful response of a route for OpenAPI."""
    return {200: {"content": {"application/json": {"example": example.model_dump(mode="json")}}}}


def new_app() -> FastAPI:
    """Create the API with title and descriptions, without routes."""
    return FastAPI(
        title="skinserve",
        version=API_VERSION,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        openapi_tags=[
            {"name": "lesion", "description": "Is this lesion harmful, and what is it?"},
            {"name": "progress", "description": "Is this face getting better?"},
            {"name": "server", "description": "Which models are loaded, and whether they answer."},
        ],
    )


def add_docs(app: FastAPI) -> None:
    """Serve Swagger UI at ``/docs`` from the files of fastapi-offline instead of a CDN."""
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
