"""Request bodies, examples and errors of the lesion routes in the OpenAPI document."""

from models.limits import (
    MAX_BATCH_PHOTOS,
    MAX_PHOTO_BYTES,
    MAX_PHOTO_PIXELS,
    MAX_REQUEST_BYTES,
    PHOTO_FORMAT_NAMES,
    PHOTO_FORMATS,
)
from serve.lesion.schemas import BatchLine, DiagnosisScore, LesionAnswer
from serve.runtime.errors import error_responses
from serve.runtime.openapi import (
    ANY_ROUTE,
    BINARY,
    CHOSEN_MODEL,
    ONE_PHOTO,
    json_response,
    multipart_form,
    request_body,
)
from serve.schemas import ModelName

LESION_BODY = request_body(
    f"One photo of one lesion, {PHOTO_FORMAT_NAMES}, at most {MAX_PHOTO_BYTES / 1e6:g} MB and "
    f"{MAX_PHOTO_PIXELS / 1e6:g} megapixels, of other formats than JPEG fewer.",
    {
        "multipart/form-data": multipart_form({"file": BINARY}, ["file"]),
        **{format.mime_type: {"schema": BINARY} for format in PHOTO_FORMATS},
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "image": {"type": "string", "description": "base64 of the file, or a data URI of it"}
                },
                "required": ["image"],
                "additionalProperties": False,
            },
            "example": {"image": "data:image/jpeg;base64,/9j/4AAQSkZJRgABAQ=="},
        },
    },
)

_NEVUS = DiagnosisScore(name="Nevus", group="benign", probability=0.81)
_MELANOMA = DiagnosisScore(name="Melanoma", group="malignant", probability=0.12)
LESION_EXAMPLE = LesionAnswer(
    model=ModelName(name="lesion-reference", version="1"),
    verdict="benign",
    usable=True,
    reasons=[],
    malignant_probability=0.14,
    threshold=0.5,
    benign_threshold=0.2,
    risk_level="low",
    diagnosis=_NEVUS,
    diagnoses=[_NEVUS, _MELANOMA],
    lesion_box=(1210, 830, 1790, 1360),
    crop_box=(804, 399, 2196, 1791),
)
LESION_RESPONSES = json_response(LESION_EXAMPLE) | error_responses(
    *ONE_PHOTO, "too_many_photos", *CHOSEN_MODEL, *ANY_ROUTE
)

BATCH_BODY = request_body(
    f"Up to {MAX_BATCH_PHOTOS} photos, at most {MAX_PHOTO_BYTES / 1e6:g} MB each and "
    f"{MAX_REQUEST_BYTES / 1e6:g} MB together.",
    {
        "multipart/form-data": multipart_form(
            {"files": {"type": "array", "items": BINARY, "maxItems": MAX_BATCH_PHOTOS}}, ["files"]
        )
    },
)
_LINE = BatchLine.model_json_schema(ref_template="#/components/schemas/{model}")
_LINE.pop("$defs")
BATCH_RESPONSES = {
    200: {
        "description": "NDJSON: one line per file as it finishes, with `index` and either `result` or "
        "`error`",
        "content": {
            "application/x-ndjson": {
                "schema": _LINE,
                "example": '{"index": 1, "error": {"code": "unreadable_image", "message": "the photo is '
                'empty (0 bytes); send the file itself"}}\n',
            }
        },
    },
    **error_responses(
        "too_large", "unsupported_type", "invalid_request", "too_many_photos", *CHOSEN_MODEL, *ANY_ROUTE
    ),
}
