"""Read the JSON body of a report request: a photo, or an answer of ``POST /v1/lesion``."""

import orjson
from pydantic import ValidationError

from models.images import PhotoError
from serve.lesion.schemas import LesionAnswer
from serve.runtime.errors import ApiError
from serve.runtime.json_photo import read_json_photo

MAX_ANSWER_BYTES = 500_000
"""An answer with a Grad-CAM map has 300 kB at most. Larger bodies are photos."""
_EXPECTED = 'send the JSON of POST /v1/lesion as it is, or {"image": base64 of the photo}'


def read_json(body: bytes, *, max_bytes: int) -> bytes | PhotoError | LesionAnswer:
    """Return the photo or the answer of a JSON body.

    Args:
        max_bytes: of the photo; the error of a larger one is returned.

    Raises:
        ApiError: ``invalid_request``.
    """
    if len(body) > MAX_ANSWER_BYTES or _has_image(body):
        return read_json_photo(body, max_bytes=max_bytes)
    try:
        return LesionAnswer.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))[:60]
        found = f"{place}: {first['msg']}" if place else first["msg"]
        raise ApiError("invalid_request", f"the body is no answer: {found[:300]}; {_EXPECTED}") from error


def _has_image(body: bytes) -> bool:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False  # the validation of the answer reports it
    return isinstance(content, dict) and "image" in content
