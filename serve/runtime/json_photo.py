"""Read one photo from a JSON body: ``{"image": "<base64 or data URI>"}``."""

import binascii
import re

import orjson

from models.images import PhotoError, photo_too_large
from serve.runtime.errors import ApiError

_EXPECTED = '{"image": "<base64 of the photo, or a data URI>"}'
_DATA_URI = re.compile(r"\s*data:([^,]{0,200}),", re.IGNORECASE)
_MEDIA_TYPES = ("", "application/octet-stream")
"""Besides ``image/*``; browsers use them for photos of unknown formats."""
_URL_SAFE_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_SPACE = b" \t\r\n"
_MAX_STRUCTURE = 100
"""Lists, objects and commas in a body; parsing millions of them would take gigabytes."""


def max_json_bytes(max_photo_bytes: int) -> int:
    """Return the size limit of a body: base64 takes 4/3, with escaped line ends 3/2."""
    return 3 * max_photo_bytes // 2 + 10_000


def read_json_photo(body: bytes, *, max_bytes: int) -> bytes | PhotoError:
    """Return the photo of a JSON body, or the error of one over ``max_bytes``.

    Raises:
        ApiError: ``invalid_request``.
    """
    image = _image_of(body)
    header = _DATA_URI.match(image, 0, 250)
    if header is not None:
        _check_data_uri(header[1])
        image = image[header.end() :]
    photo = _decode_base64(image)
    if not photo:
        raise _invalid("'image' is empty")
    return photo if len(photo) <= max_bytes else photo_too_large(len(photo), max_bytes)


def _image_of(body: bytes) -> str:
    if sum(map(body.count, (b"[", b"{", b","))) > _MAX_STRUCTURE:
        raise _invalid("the body has more than the one key 'image'")
    try:
        content = orjson.loads(body.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise _invalid(f"the body is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise _invalid("the body is not a JSON object")
    unknown = [name for name in content if name != "image"]
    if unknown:
        raise _invalid(f"the key {unknown[0][:40]!r} is unknown; options are query parameters")
    image = content.get("image")
    if not isinstance(image, str):
        raise _invalid("the key 'image' is missing" if image is None else "'image' is not a string")
    return image


def _check_data_uri(header: str) -> None:
    """Check the part between ``data:`` and the comma: a media type, parameters, ``base64``."""
    kind, *parameters = (part.strip().lower() for part in header.split(";"))
    if not (kind.startswith("image/") or kind in _MEDIA_TYPES):
        raise _invalid(f"the data URI is {kind[:40]!r}, not a photo")
    if not parameters or parameters[-1] != "base64":
        raise _invalid("the data URI is not base64")


def _decode_base64(text: str) -> bytes:
    """Decode the standard or the URL-safe alphabet, with or without white space and padding."""
    try:
        data = text.encode("ascii").translate(_URL_SAFE_TO_STANDARD, _SPACE)
        return binascii.a2b_base64(data + b"=" * (-len(data) % 4), strict_mode=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise _invalid("'image' is not base64") from error


def _invalid(found: str) -> ApiError:
    return ApiError("invalid_request", f"{found}; send {_EXPECTED}")
