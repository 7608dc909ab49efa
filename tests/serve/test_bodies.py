"""Bodies of requests in every accepted form: raw, form, JSON, compressed."""

import base64
import gzip
import json
import zlib
from collections.abc import Callable

import httpx
import pytest
from fastapi.testclient import TestClient

from tests.serve.fakes import FakeModels, error_of, fake_app, picture, uploads

JPEG = {"content-type": "image/jpeg"}


@pytest.mark.parametrize("encode", [gzip.compress, zlib.compress])
def test_every_kind_of_body_may_be_compressed(client: TestClient, encode: Callable[[bytes], bytes]):
    encoding = {"content-encoding": "gzip" if encode is gzip.compress else "deflate"}
    form = httpx.Request("POST", "http://server", files=uploads(picture(), field_name="file"))
    frames = json.dumps({"img": [[[[1, 2, 3]] * 40] * 40] * 2}).encode()

    def post(path: str, body: bytes, kind: str) -> int:
        return client.post(path, content=encode(body), headers={"content-type": kind, **encoding}).status_code

    assert post("/v1/lesion", picture(), "image/jpeg") == 200
    assert post("/v1/lesion", form.read(), form.headers["content-type"]) == 200
    assert post("/v1/lesion", json.dumps({"image": in_base64()}).encode(), "application/json") == 200
    assert post("/predict", frames, "application/json") == client.post("/predict", content=frames).status_code


@pytest.mark.parametrize(
    ("body", "encoding", "code", "message"),
    [
        (gzip.compress(bytes(30_000_000)), "gzip", "too_large", "at most 20 MB"),
        (zlib.compress(bytes(30_000_000)), "deflate", "too_large", "at most 20 MB"),
        (gzip.compress(picture())[:-3], "gzip", "invalid_request", "is cut off"),
        (picture(), "gzip", "invalid_request", "is damaged"),
        (picture(), "br", "unsupported_type", "encoding is 'br'"),
        (picture(), "gzip, br", "unsupported_type", "encoding is 'gzip, br'"),
    ],
)
def test_a_wrong_encoding_is_rejected(
    client: TestClient, body: bytes, encoding: str, code: str, message: str
):
    answer = error_of(client.post("/v1/lesion", content=body, headers=JPEG | {"content-encoding": encoding}))

    assert answer[1] == code and message in answer[2]


def test_a_bomb_in_a_form_is_rejected():
    client = TestClient(fake_app(FakeModels(), gateway={"max_request_bytes": 20_000_000}))
    form = httpx.Request("POST", "http://server", files=uploads(bytes(21_000_000)))
    headers = {"content-type": form.headers["content-type"], "content-encoding": "gzip"}
    body = gzip.compress(form.read(), 1)

    assert len(body) < 200_000
    assert error_of(client.post("/v1/lesion/batch", content=body, headers=headers))[1] == "too_large"


def test_a_photo_in_json_is_answered_as_the_photo(client: TestClient):
    answers = [
        client.post("/v1/lesion?top_k=1", content=picture(), headers=JPEG),
        client.post("/v1/lesion?top_k=1", json={"image": in_base64()}),
        client.post("/v1/lesion?top_k=1", json={"image": f"data:image/jpeg;base64,{in_base64()}"}),
    ]

    assert [answer.status_code for answer in answers] == [200] * 3
    assert answers[0].json() == answers[1].json() == answers[2].json()


def test_the_byte_limit_of_a_photo_in_json_counts_the_photo():
    client = TestClient(fake_app(FakeModels(), gateway={"max_photo_bytes": 100_000}))

    def post(num_bytes: int) -> tuple[int, str, str]:
        image = base64.b64encode(bytes(num_bytes)).decode()
        return error_of(client.post("/v1/lesion", json={"image": image}))

    assert post(100_000)[1] == "unsupported_type"
    assert post(100_001)[2].startswith("the photo has 0.2 MB, at most 0.1 MB are allowed")
    assert post(120_000)[1] == post(200_000)[1] == "too_large"


@pytest.mark.parametrize(
    "kind",
    ["image/jpg", "IMAGE/JPEG", "image/heic", "image/jpeg; charset=binary", "Application/Octet-Stream", ""],
)
def test_content_types_of_photos_are_read_in_every_form(client: TestClient, kind: str):
    assert client.post("/v1/lesion", content=picture(), headers={"content-type": kind}).status_code == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/mixed; boundary=b"]
)
def test_the_rejection_of_another_content_type_says_what_is_expected(client: TestClient, kind: str):
    body = in_base64().encode()

    _, code, message = error_of(client.post("/v1/lesion", content=body, headers={"content-type": kind}))

    assert code == "unsupported_type"
    for expected in (
        kind.partition(";")[0],
        "image/*",
        "'file' of a form",
        'application/json {"image": base64}',
    ):
        assert expected in message


def test_nginx_does_not_hold_back_the_lines_of_a_batch(client: TestClient):
    answer = client.post("/v1/lesion/batch", files=uploads(picture()))

    assert (answer.headers["x-accel-buffering"], answer.headers["cache-control"]) == ("no", "no-store")


def in_base64() -> str:
    return base64.b64encode(picture()).decode()
