"""The endpoints of the page for ``gradio_client`` on the real server: answers and limits of the API."""

import base64

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from models.limits import MAX_PHOTO_BYTES, MAX_SERIES_PHOTOS
from tests.serve.fakes import error_of, png_bomb, uploads

pytestmark = [pytest.mark.server]


@pytest.fixture(scope="module")
def program(server_url: str) -> Client:
    return Client(f"{server_url}/ui/", verbose=False, httpx_kwargs={"timeout": 90})


def in_base64(photo: bytes) -> str:
    return base64.b64encode(photo).decode()


def test_a_program_gets_the_answers_of_the_api(program: Client, http: httpx.Client, lesion: bytes, faces):
    one = program.predict(in_base64(lesion), api_name="/lesion")
    series = program.predict([in_base64(face) for face in faces], api_name="/progress")

    for answer, sent in (
        (one, http.post("/v1/lesion?explain=true", content=lesion)),
        (series, http.post("/v1/progress", files=uploads(*faces))),
    ):
        expected = sent.json()
        assert answer.keys() == expected.keys()
        assert [answer[name] for name in ("model", "verdict")] == [
            expected[name] for name in ("model", "verdict")
        ]


@pytest.mark.parametrize(
    "photo",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html>", id="web page"),
        pytest.param(b"\xff\xd8\xff\xe0 not a photo", id="damaged"),
        pytest.param(png_bomb(10_000, 6000), id="too many pixels"),
        pytest.param(bytes(MAX_PHOTO_BYTES + 1), id="too large"),
    ],
)
def test_a_photo_is_rejected_as_by_the_api(program: Client, http: httpx.Client, photo: bytes):
    _, code, message = error_of(http.post("/v1/lesion", files=uploads(photo, field_name="file")))

    with pytest.raises(AppError) as rejected:
        program.predict(in_base64(photo), api_name="/lesion")

    assert lowered(rejected.value) == f"{code}: {message}".lower()


@pytest.mark.parametrize("number", [1, MAX_SERIES_PHOTOS + 1])
def test_a_series_is_rejected_as_by_the_api(program: Client, http: httpx.Client, lesion: bytes, number: int):
    _, code, message = error_of(http.post("/v1/progress", files=uploads(*[lesion] * number)))

    with pytest.raises(AppError) as rejected:
        program.predict([in_base64(lesion)] * number, api_name="/progress")

    assert lowered(rejected.value) == f"{code}: {message}".lower()


def lowered(error: Exception) -> str:
    """Return a message without the capital letters and the full stop of the page."""
    return str(error).lower().removesuffix(".")
