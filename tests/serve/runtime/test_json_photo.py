import base64
import json
from typing import Any

import pytest

from models.images import TooLargeError
from serve.runtime.errors import ApiError
from serve.runtime.json_photo import max_json_bytes, read_json_photo

PHOTO = b"\xff\xd8\xff\xfb\xef\xbe" + bytes(range(256))  # with + and / in base64
TEXT = base64.b64encode(PHOTO).decode()


def read(body: Any, max_bytes: int = 1000) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_json_photo(data, max_bytes=max_bytes)


def message_of(body: Any) -> str:
    with pytest.raises(ApiError) as rejection:
        read(body)
    assert rejection.value.code == "invalid_request"
    assert 'send {"image": "<base64 of the photo, or a data URI>"}' in str(rejection.value)
    return str(rejection.value)


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        base64.urlsafe_b64encode(PHOTO).decode(),
        TEXT.rstrip("="),
        base64.encodebytes(PHOTO).decode(),
        f"  {TEXT}\r\n",
        f"data:image/jpeg;base64,{TEXT}",
        f"DATA:Image/JPEG;name=a.jpg;BASE64,{TEXT}",
        f"data:application/octet-stream;base64,{TEXT}",
        f"data:;base64,\n{base64.encodebytes(PHOTO).decode()}",
    ],
)
def test_base64_and_data_uris_are_read(text: str):
    assert read({"image": text}) == PHOTO


def test_escaped_slashes_and_a_byte_order_mark_are_read():
    body = json.dumps({"image": TEXT}).replace("/", "\\/").encode()

    assert read(b"\xef\xbb\xbf" + body) == PHOTO


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", "is not JSON"),
        (b"\xff\xd8\xff", "is not JSON"),
        (b'{"image": "abc', "is not JSON"),
        (b"[" * 90, "is not JSON"),
        (b"[" * 10_000_000, "more than the one key"),
        (b'{"image":[' + b"[]," * 3_000_000 + b"0]}", "more than the one key"),
        ("abc", "not a JSON object"),
        ({}, "'image' is missing"),
        ({"image": None}, "'image' is missing"),
        ({"image": 3}, "'image' is not a string"),
        ({"image": [TEXT]}, "'image' is not a string"),
        ({"img": TEXT}, "'img' is unknown"),
        ({"image": TEXT, "top_k": 3}, "'top_k' is unknown; options are query parameters"),
        ({"image": ""}, "'image' is empty"),
        ({"image": "data:image/png;base64,"}, "'image' is empty"),
        ({"image": "https://host/photo.jpg"}, "not base64"),
        ({"image": "photo.jpg"}, "not base64"),
        ({"image": "abcde"}, "not base64"),
        ({"image": "ab=c"}, "not base64"),
        ({"image": "\u00e4\u00f6"}, "not base64"),
        ({"image": f"data:text/html;base64,{TEXT}"}, "'text/html', not a photo"),
        ({"image": "data:image/svg+xml,%3Csvg"}, "the data URI is not base64"),
    ],
)
def test_another_body_is_rejected(body: Any, found: str):
    assert found in message_of(body)


def test_the_limit_counts_the_decoded_photo():
    assert read({"image": TEXT}, max_bytes=len(PHOTO)) == PHOTO
    assert isinstance(read({"image": TEXT}, max_bytes=len(PHOTO) - 1), TooLargeError)


def test_the_body_of_the_largest_photo_fits():
    photo = b"\xff" * 1_000_000  # in base64 all are slashes
    body = json.dumps({"image": "data:image/jpeg;base64," + base64.encodebytes(photo).decode()})

    assert len(body) <= max_json_bytes(len(photo))
