"""Request body, responses and errors of the report route in the OpenAPI document."""

import copy
from typing import Any

from serve.lesion.openapi import LESION_BODY, LESION_EXAMPLE
from serve.lesion.report.media_types import FHIR, PDF
from serve.lesion.schemas import LesionAnswer
from serve.runtime.errors import error_responses
from serve.runtime.openapi import ANY_ROUTE, BINARY, CHOSEN_MODEL, ONE_PHOTO


def _report_body() -> dict[str, Any]:
    """Return the body of ``POST /v1/lesion``, with an answer as another JSON body."""
    body = copy.deepcopy(LESION_BODY)
    content = body["requestBody"]["content"]
    photo = content["application/json"]
    answer = {"$ref": f"#/components/schemas/{LesionAnswer.__name__}"}
    content["application/json"] = {
        "schema": {"oneOf": [photo["schema"], answer]},
        "examples": {
            "photo": {"value": photo["example"]},
            "answer": {"value": LESION_EXAMPLE.model_dump(mode="json")},
        },
    }
    return body


REPORT_BODY = _report_body()
REPORT_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "by `Accept`: one page of PDF/UA, or a FHIR R4B DiagnosticReport. `*/*`: PDF, or FHIR "
        "on a server that cannot write PDF",
        "content": {PDF: {"schema": BINARY}, FHIR: {"schema": {"type": "object"}}},
    },
    **error_responses(
        *ONE_PHOTO, "too_many_photos", "not_acceptable", "pdf_unavailable", *CHOSEN_MODEL, *ANY_ROUTE
    ),
}
