"""Request body, examples and errors of the feedback routes in the OpenAPI document."""

from typing import Any

from models.limits import MAX_PHOTO_BYTES, PHOTO_FORMAT_NAMES
from serve.feedback.form import CONSENT, PHOTO, PHOTO_CONSENT
from serve.feedback.schemas import Feedback, FeedbackReceipt
from serve.runtime.errors import error_responses
from serve.runtime.openapi import ANY_ROUTE, BINARY, ONE_PHOTO, multipart_form, request_body

_FIELDS = Feedback.model_json_schema()
FEEDBACK_BODY = request_body(
    "At most one of `diagnosis`, `group` and `text`. Without `consent=true` nothing is stored, without "
    "`photo_consent=true` no photo. The task progress takes `text` only, and no photo.",
    {
        "multipart/form-data": multipart_form(
            {
                **_FIELDS["properties"],
                CONSENT: {"const": "true", "description": "the person agrees that the feedback is stored"},
                PHOTO_CONSENT: {"const": "true", "description": "and that the photo is stored"},
                PHOTO: BINARY
                | {
                    "description": f"{PHOTO_FORMAT_NAMES}, at most {MAX_PHOTO_BYTES / 1e6:g} MB; stored as "
                    "JPEG of at most 2048 px, without EXIF and file name"
                },
            },
            [*_FIELDS["required"], CONSENT],
        )
    },
)
_EXAMPLE = FeedbackReceipt(receipt="q0hXo2n8mIYd3Hn4b5a7Zg1f3", photo_stored=True)
FEEDBACK_RESPONSES: dict[int | str, dict[str, Any]] = {
    201: {"content": {"application/json": {"example": _EXAMPLE.model_dump()}}}
} | error_responses(
    *ONE_PHOTO, "too_many_photos", "not_found", "feedback_quota", "feedback_unavailable", *ANY_ROUTE
)
DELETE_RESPONSES = error_responses("invalid_request", "not_found", "feedback_unavailable", *ANY_ROUTE)
