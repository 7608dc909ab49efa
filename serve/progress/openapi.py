"""Request bodies, examples and errors of the progress routes in the OpenAPI document."""

from datetime import datetime

from models.limits import MAX_SERIES_PHOTOS, MIN_BRIGHTNESS, MIN_SERIES_PHOTOS
from serve.progress.schemas import (
    Box,
    Eyes,
    FoundFace,
    PhotoReport,
    Point,
    PredictAnswer,
    PredictRequest,
    ProgressAnswer,
)
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
from serve.schemas import ErrorCode, ModelName, Reason

_SERIES: tuple[ErrorCode, ...] = ("no_face", "too_few_photos", "too_many_photos")

PROGRESS_BODY = request_body(
    f"{MIN_SERIES_PHOTOS} to {MAX_SERIES_PHOTOS} photos of one face; `taken_at` for none or for each, ISO "
    "8601, in the order of the files.",
    {
        "multipart/form-data": multipart_form(
            {
                "files": {
                    "type": "array",
                    "items": BINARY,
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


_FIRST = FoundFace(
    box=Box(left=812, top=640, right=1790, bottom=1905),
    confidence=0.999,
    eyes=Eyes(left=Point(x=1080, y=1132), right=Point(x=1532, y=1124)),
)
_LAST = FoundFace(
    box=Box(left=790, top=655, right=1761, bottom=1898),
    confidence=0.998,
    eyes=Eyes(left=Point(x=1061, y=1139), right=Point(x=1509, y=1141)),
)


def _photo(
    index: int, taken_at: datetime, face: FoundFace | None, improved: float | None = None
) -> PhotoReport:
    return PhotoReport(
        index=index,
        taken_at=taken_at,
        face=face,
        same_person=True if face else None,
        improved_probability_so_far=improved,
    )


_EXAMPLE = ProgressAnswer(
    model=ModelName(name="progress-reference", version="1"),
    verdict="improved",
    improved_probability=0.83,
    worsened_probability=0.17,
    improved_threshold=0.66,
    worsened_threshold=0.66,
    order="exif",
    reasons=[
        Reason(
            code="too_dark",
            message="photo 1: the photo is black: 99% of it has a brightness of at most 9 of 255, at least "
            f"{MIN_BRIGHTNESS} is needed; take it again in daylight or brighter light",
        )
    ],
    photos=[
        _photo(1, datetime(2026, 3, 1, 9, 30), _FIRST),
        _photo(0, datetime(2026, 4, 2, 9, 12), None),
        _photo(2, datetime(2026, 5, 1, 8, 55), _LAST, 0.83),
    ],
)
PROGRESS_RESPONSES = json_response(_EXAMPLE) | error_responses(
    *ONE_PHOTO, *_SERIES, "bad_timestamp", *CHOSEN_MODEL, *ANY_ROUTE
)

PREDICT_BODY = request_body(
    f"{MIN_SERIES_PHOTOS} to {MAX_SERIES_PHOTOS} frames, oldest first, each height x width x 3 numbers, RGB. "
    "The example has 2 frames of 1 x 2 pixels.",
    {
        "application/json": {
            "schema": PredictRequest.model_json_schema(),
            "example": {"img": [[[[203, 160, 141], [201, 158, 140]]], [[[205, 163, 146], [204, 161, 143]]]]},
        }
    },
)
PREDICT_RESPONSES = json_response(
    PredictAnswer(prob_class=1, negative_prob=0.17, positive_prob=0.83)
) | error_responses("too_large", "unsupported_type", "invalid_request", *_SERIES, *CHOSEN_MODEL, *ANY_ROUTE)
