"""Request bodies, examples and errors of the Open Inference Protocol in the OpenAPI document."""

from collections.abc import Mapping
from typing import Any

from serve.runtime.errors import EXAMPLES, STATUS
from serve.runtime.openapi import ANY_ROUTE, BINARY, CHOSEN_MODEL, ONE_PHOTO, request_body
from serve.schemas import ErrorCode

_Responses = dict[int | str, dict[str, Any]]

_ERROR = {
    "type": "object",
    "properties": {"error": {"type": "string", "description": "code, colon, message"}},
    "required": ["error"],
}
_TENSOR = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "datatype": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "parameters": {"type": "object"},
        "data": {"type": "array", "items": {}, "description": "flat; base64 of BYTES inputs"},
    },
}
_REQUEST = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "parameters": {"type": "object"},
        "inputs": {"type": "array", "items": _TENSOR},
        "outputs": {"type": "array", "items": _TENSOR},
    },
    "required": ["inputs"],
}
INFER_BODY = request_body(
    "An inference request. With `Inference-Header-Content-Length` the body is JSON of that length and then "
    "the binary data of the inputs with `binary_data_size`.",
    {
        "application/json": {
            "schema": _REQUEST,
            "example": {
                "id": "1",
                "inputs": [
                    {"name": "photo", "datatype": "BYTES", "shape": [1], "data": ["/9j/4AAQSkZJRgABAQ=="]}
                ],
                "outputs": [{"name": "verdict"}, {"name": "malignant_probability"}],
            },
        },
        "application/octet-stream": {"schema": BINARY},
    },
)
INDEX_BODY = request_body(
    "Optional.",
    {"application/json": {"schema": {"type": "object", "properties": {"ready": {"type": "boolean"}}}}},
)
INDEX_BODY["requestBody"]["required"] = False


def error_responses(*codes: ErrorCode) -> _Responses:
    """Return the error responses of a route of the protocol."""
    responses: _Responses = {}
    for code in codes:
        content = {"schema": _ERROR, "examples": {}}
        entry = responses.setdefault(
            STATUS[code], {"description": "", "content": {"application/json": content}}
        )
        entry["description"] = ", ".join(filter(None, [entry["description"], f"`{code}`"]))
        examples = entry["content"]["application/json"]["examples"]
        examples[code] = {"value": {"error": f"{code}: {EXAMPLES[code]}"}}
    return responses


def _example(value: object) -> _Responses:
    return {200: {"content": {"application/json": {"example": value}}}}


def _not_ready(fields: Mapping[str, object]) -> _Responses:
    example = {**fields, "ready": False}
    return {
        503: {"description": "not ready", "content": {"application/json": {"example": example}}},
    }


_RESPONSE = {
    "model_name": "lesion-reference",
    "model_version": "6",
    "id": "1",
    "outputs": [
        {"name": "verdict", "datatype": "BYTES", "shape": [1], "data": ["benign"]},
        {"name": "malignant_probability", "datatype": "FP32", "shape": [1], "data": [0.14]},
    ],
}
INFER: _Responses = {
    200: {
        "content": {
            "application/json": {"schema": {"type": "object"}, "example": _RESPONSE},
            "application/octet-stream": {"schema": BINARY},
        },
        "description": "JSON; JSON and binary data with `Inference-Header-Content-Length` if a requested "
        "output has `binary_data`",
    }
} | error_responses(*ONE_PHOTO, "too_many_photos", "too_few_photos", "no_face", *CHOSEN_MODEL, *ANY_ROUTE)
_FOUND: _Responses = error_responses("invalid_request", "not_found", *ANY_ROUTE)
SERVER: _Responses = _example(
    {"name": "skinserve", "version": "1", "extensions": ["binary_tensor_data"]}
) | error_responses("invalid_request", *ANY_ROUTE)
NOT_READY: _Responses = _not_ready({})
METADATA: _Responses = (
    _example(
        {
            "name": "lesion-reference",
            "versions": ["6"],
            "platform": "skinserve_lesion",
            "inputs": [{"name": "photo", "datatype": "BYTES", "shape": [-1]}],
            "outputs": [{"name": "malignant_probability", "datatype": "FP32", "shape": [-1]}],
        }
    )
    | _FOUND
)
MODEL_READY: _Responses = _FOUND | _not_ready({"name": "lesion-reference"})
STATISTICS: _Responses = _example({"model_stats": []}) | _FOUND
INDEX: _Responses = _example(
    [{"name": "lesion-reference", "version": "6", "state": "READY", "reason": ""}]
) | error_responses("too_large", "unsupported_type", "invalid_request", *ANY_ROUTE)
