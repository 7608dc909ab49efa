import base64
import io
import json

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from pydantic import ValidationError

from serve.lesion.schemas import LesionAnswer
from serve.runtime import metrics
from tests.serve.fakes import INPUT_PX, FakeModels, error_of, picture, png_bomb, score, uploads

JPEG = {"content-type": "image/jpeg"}
NEVUS = score("Nevus", "benign", 0.3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_raw_body_is_classified(client: TestClient, models: FakeModels, kind: str):
    headers = {"content-type": f"image/{kind.lower()}"}

    answer = client.post("/v1/lesion", content=picture(kind), headers=headers)

    assert answer.status_code == 200
    assert answer.json()["verdict"] == "benign"
    assert answer.json()["diagnosis"] == {"name": "Nevus", "group": "benign", "probability": 0.7}
    assert answer.json()["heatmap_png"] is None
    assert (answer.json()["risk_level"], answer.json()["lesion_box"]) == ("low", None)
    assert answer.json()["crop_box"] == [8, 0, 56, 48], "the central square"
    assert "not a medical device" in answer.json()["disclaimer"]
    assert models.photos[0].image_HWC.shape == (INPUT_PX, INPUT_PX, 3)


def test_a_form_and_a_body_without_type_are_classified(client: TestClient):
    photo = picture()

    form = client.post("/v1/lesion", files=uploads(photo, field_name="file"))
    raw = client.post("/v1/lesion", content=photo, headers={"content-type": "application/octet-stream"})
    bare = client.post("/v1/lesion", content=photo)

    assert form.status_code == raw.status_code == bare.status_code == 200
    assert form.json() == raw.json() == bare.json()


def test_explain_adds_a_grad_cam_png_of_224_px(client: TestClient):
    answer = client.post("/v1/lesion?explain=true", content=picture(), headers=JPEG)

    heatmap = Image.open(io.BytesIO(base64.b64decode(answer.json()["heatmap_png"])))
    assert (heatmap.format, heatmap.mode, heatmap.size) == ("PNG", "RGBA", (224, 224))


def test_top_k_limits_the_diagnoses(client: TestClient):
    one = client.post("/v1/lesion?top_k=1", content=picture(), headers=JPEG)
    many = client.post("/v1/lesion?top_k=27", content=picture(), headers=JPEG)

    assert len(one.json()["diagnoses"]) == 1
    assert len(many.json()["diagnoses"]) == 2


@pytest.mark.parametrize(
    ("body", "kind", "status", "code", "match"),
    [
        (b"", "image/jpeg", 422, "invalid_request", "empty"),
        (picture()[:200], "image/jpeg", 400, "unreadable_image", "damaged"),
        (b"<!doctype html><html></html>", "image/jpeg", 415, "unsupported_type", "web page"),
        (b"\xff\x0a" + bytes(50), "image/jxl", 415, "unsupported_type", "JPEG XL"),
        (picture(), "text/html", 415, "unsupported_type", "text/html"),
        (picture(), "application/x-www-form-urlencoded", 415, "unsupported_type", "octet-stream"),
        (png_bomb(10_000, 6_000), "image/png", 413, "too_many_pixels", "60.0 megapixels"),
        (bytes(20_000_001), "image/jpeg", 413, "too_large", "20 MB"),
    ],
)
def test_a_bad_photo_is_rejected(
    client: TestClient, body: bytes, kind: str, status: int, code: str, match: str
):
    answer = client.post("/v1/lesion", content=body, headers={"content-type": kind})

    found = error_of(answer)
    assert found[:2] == (status, code)
    assert match in found[2]


@pytest.mark.parametrize("query", ["top_k=0", "top_k=28", "top_k=many", "explain=perhaps"])
def test_bad_parameters_are_rejected(client: TestClient, query: str):
    status, code, message = error_of(client.post(f"/v1/lesion?{query}", content=picture(), headers=JPEG))

    assert (status, code) == (422, "invalid_request")
    assert f"query parameter {query.split('=')[0]} is {query.split('=')[1]!r}: must be" in message


def test_a_form_without_a_file_or_with_two_is_rejected(client: TestClient):
    wrong = client.post("/v1/lesion", files=uploads(picture(), field_name="photo"))
    none = client.post(
        "/v1/lesion", content=b"--b--\r\n", headers={"content-type": "multipart/form-data; boundary=b"}
    )
    two = client.post("/v1/lesion", files=uploads(picture(), picture(), field_name="file"))

    assert error_of(wrong)[:2] == (422, "invalid_request") and "'photo'" in error_of(wrong)[2]
    assert error_of(none)[:2] == (422, "invalid_request")
    assert error_of(two)[:2] == (422, "too_many_photos")


def test_a_batch_is_answered_by_one_line_per_file_and_an_error_line_for_a_bad_one(client: TestClient):
    photos = [picture(), b"<html>", bytes(20_000_001), picture("PNG")]

    answer = client.post("/v1/lesion/batch", files=uploads(*photos))

    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = {line["index"]: line for line in map(json.loads, answer.text.splitlines())}
    assert sorted(lines) == [0, 1, 2, 3]
    assert lines[0]["result"]["verdict"] == lines[3]["result"]["verdict"] == "benign"
    assert set(lines[0]["result"]) == set(LesionAnswer.model_fields)
    assert lines[1]["error"]["code"] == "unsupported_type"
    assert lines[2]["error"]["code"] == "too_large"
    assert all(("result" in line) != ("error" in line) for line in lines.values())


def test_a_batch_of_too_many_files_or_none_is_rejected(client: TestClient):
    many = client.post("/v1/lesion/batch", files=uploads(*[b"x"] * 65))
    none = client.post(
        "/v1/lesion/batch", content=b"--b--\r\n", headers={"content-type": "multipart/form-data; boundary=b"}
    )
    raw = client.post("/v1/lesion/batch", content=picture(), headers=JPEG)

    assert error_of(many)[:2] == (422, "too_many_photos")
    assert error_of(none)[:2] == (422, "invalid_request")
    assert error_of(raw)[:2] == (415, "unsupported_type")


def one_colour(colour: tuple[int, ...], size: tuple[int, int] = (64, 48)) -> bytes:
    file = io.BytesIO()
    Image.new("RGBA" if len(colour) == 4 else "RGB", size, colour).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("photo", "codes"),
    [
        (one_colour((0, 0, 0), (1, 1)), ["too_small", "too_dark"]),
        (picture(size=(8000, 10)), ["too_small"]),
        (one_colour((0, 0, 0)), ["too_dark"]),
        (one_colour((255, 255, 255)), ["overexposed"]),
        (one_colour((90, 60, 50, 0)), ["overexposed"]),
        (one_colour((214, 170, 148)), ["no_lesion"]),
    ],
)
def test_a_photo_that_is_not_usable_is_inconclusive_without_the_network(
    client: TestClient, models: FakeModels, photo: bytes, codes: list[str]
):
    answer = client.post("/v1/lesion?explain=true", content=photo)

    assert answer.status_code == 200 and models.num_calls == 0
    assert [reason["code"] for reason in answer.json()["reasons"]] == codes
    expected = {
        "model": {"name": "lesion-fake", "version": "1"},
        "verdict": "inconclusive",
        "usable": False,
        "malignant_probability": None,
        "threshold": 0.5,
        "benign_threshold": 0.5,
        "risk_level": None,
        "diagnosis": None,
        "diagnoses": [],
        "lesion_box": None,
        "crop_box": None,
        "heatmap_png": None,
    }
    assert expected.items() <= answer.json().items()


def test_a_batch_has_a_result_for_a_photo_that_is_not_usable(client: TestClient, models: FakeModels):
    photos = [one_colour((0, 0, 0)), picture(), b"<html>"]

    answer = client.post("/v1/lesion/batch", files=uploads(*photos))

    lines = {line["index"]: line for line in map(json.loads, answer.text.splitlines())}
    assert [lines[index]["result"]["usable"] for index in (0, 1)] == [False, True]
    assert lines[0]["result"]["reasons"][0]["code"] == "too_dark"
    assert "error" in lines[2] and len(models.photos) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"usable": True},
        {"reasons": []},
        {"verdict": "benign"},
        {"malignant_probability": 0.1},
        {"diagnosis": NEVUS},
        {"diagnoses": [NEVUS]},
        {"heatmap_png": ""},
        {"risk_level": "medium"},
        {"usable": True, "malignant_probability": 0.1},
        {"usable": True, "verdict": "benign"},
    ],
)
def test_an_answer_that_contradicts_itself_is_impossible(client: TestClient, changes: dict[str, object]):
    content = client.post("/v1/lesion", content=one_colour((0, 0, 0))).json()
    LesionAnswer.model_validate(content)

    with pytest.raises(ValidationError, match="usable"):
        LesionAnswer.model_validate(content | changes)


def test_verdicts_and_reasons_are_counted(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    counted: list[str] = []

    class Counter:
        def inc(self, *, tags: dict[str, str]) -> None:
            assert tags.pop("task") == "lesion"
            counted.extend(tags.values())

    monkeypatch.setattr(metrics, "verdicts", Counter)
    monkeypatch.setattr(metrics, "reasons", Counter)
    for photo in (picture(), one_colour((0, 0, 0), (1, 1))):
        client.post("/v1/lesion", content=photo)

    assert counted == ["benign", "inconclusive", "too_small", "too_dark"]


def test_an_internal_error_becomes_an_error_line_without_details(client: TestClient, models: FakeModels):
    models.failure = ZeroDivisionError("a secret")

    answer = client.post("/v1/lesion/batch", files=uploads(picture()), headers={"x-request-id": "abc"})

    error = json.loads(answer.text)["error"]
    assert error["code"] == "internal"
    assert "abc" in error["message"] and "secret" not in answer.text
