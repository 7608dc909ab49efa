"""Messages of the API in the language of the request."""

import json
import re
from typing import Any, get_args

import pytest
from fastapi.testclient import TestClient

from serve.runtime.errors import EXAMPLES
from serve.runtime.languages import LANGUAGES
from serve.runtime.translated_errors import ERROR_TEXTS, translate_error
from serve.schemas import ErrorCode, ErrorDetail
from tests.serve.fakes import FakeModels, fake_app, photo_without_face, picture, uploads

OTHERS = [language for language in LANGUAGES if language != "en"]
GERMAN = {"Accept-Language": "de-AT, en;q=0.5"}
FOR_PROGRAMMERS = {
    "jobs_unavailable",
    "method_not_allowed",
    "not_acceptable",
    "pdf_unavailable",
    "unreadable_archive",
}


def sent(response: Any) -> tuple[str, str]:
    return response.headers["content-language"], response.headers["vary"]


@pytest.mark.parametrize("accepted", [None, "en", "fr", "*", "en-GB, de;q=0.9", "de;q=0"])
def test_messages_are_in_english_and_precise_unless_another_language_is_preferred(
    client: TestClient, accepted: str | None
):
    headers = {} if accepted is None else {"Accept-Language": accepted}
    answer = client.post("/v1/lesion", content=picture(size=(20, 20)), headers=headers)
    error = client.post("/v1/lesion", content=b"", headers=headers)

    assert sent(answer) == sent(error) == ("en", "Accept-Language")
    assert answer.json()["reasons"][0]["message"].startswith("the photo has 20 x 20 pixels, at least 32 x 32")
    assert error.json()["error"]["message"] == "the body is empty; send a photo"


def test_reasons_and_errors_are_in_german(client: TestClient):
    answer = client.post("/v1/lesion", content=picture(size=(20, 20)), headers=GERMAN)
    error = client.post("/v1/lesion", content=b"<html>", headers=GERMAN)
    route = client.get("/v3", headers=GERMAN)

    assert sent(answer) == sent(error) == sent(route) == ("de", "Accept-Language")
    assert answer.json()["reasons"][0]["code"] == "too_small"
    assert answer.json()["reasons"][0]["message"].startswith("Dieses Foto ist zu klein. ")
    assert error.json()["error"]["code"] == "unsupported_type"
    assert error.json()["error"]["message"].endswith("GIF oder BMP.")
    assert int(error.headers["content-length"]) == len(error.content)
    assert route.json()["error"]["message"].startswith("Zu dieser Adresse")


def test_errors_of_a_series_keep_the_number_of_the_photo(client: TestClient):
    broken = client.post("/v1/progress", files=uploads(picture(), b"\xff\xd8\xff"), headers=GERMAN)
    faceless = client.post("/v1/progress", files=uploads(*[photo_without_face()] * 2), headers=GERMAN)

    assert broken.json()["error"]["message"].startswith("Foto 2: Diese Datei kann nicht als Foto gelesen")
    assert faceless.json()["error"]["message"].startswith("Kein Foto zeigt ein Gesicht.")


def test_reasons_of_a_series_name_the_photos(client: TestClient):
    photos = uploads(picture(taken="2025/01/01 10:00:00"), photo_without_face(), picture(size=(30, 30)))

    reasons = client.post("/v1/progress", files=photos, headers=GERMAN).json()["reasons"]

    messages = {reason["code"]: reason["message"] for reason in reasons}
    assert "enthalten keine Zeit: 2, 3." in messages["times_missing"]
    assert messages["too_small"] == "Foto 3 ist zu klein."


def test_lines_of_a_batch_are_translated(client: TestClient):
    photos = uploads(picture(size=(20, 20)), b"<html>")

    response = client.post("/v1/lesion/batch", files=photos, headers=GERMAN)

    lines = {line["index"]: line for line in map(json.loads, response.text.splitlines())}
    assert sent(response) == ("de", "Accept-Language")
    assert lines[0]["result"]["reasons"][0]["message"].startswith("Dieses Foto ist zu klein.")
    assert lines[1]["error"]["message"].startswith("Dateien dieses Typs")


def test_a_limit_names_the_wait_in_the_language(models: FakeModels):
    limit = {"requests_per_second": 0.01, "burst": 1}
    with TestClient(fake_app(models, gateway={"client_limit": limit})) as client:
        client.get("/v1/models")
        rejected = client.get("/v1/models", headers=GERMAN)

    assert rejected.status_code == 429 and rejected.headers["retry-after"] in ("99", "100")
    assert re.search(r"zu viele Anfragen. Versuchen Sie es in 2 Minuten", rejected.json()["error"]["message"])


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize("code", get_args(ErrorCode))
def test_every_error_for_people_has_a_text(code: ErrorCode, language: str):
    detail = ErrorDetail(code=code, message=f"photo 7: {EXAMPLES[code]}")

    translated = translate_error(detail, language, retry_after="5")

    assert (code in FOR_PROGRAMMERS) == (translated == detail) == (code not in ERROR_TEXTS)
    if code not in FOR_PROGRAMMERS:
        assert "7" in translated.message and ("5" in translated.message) >= (code == "rate_limited")
        assert code == "invalid_request" or EXAMPLES[code] not in translated.message
