import base64
import json
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from serve.lesion.schemas import LesionAnswer
from serve.lesion.verdict import LesionThresholds
from tests.serve.fakes import FakeModels, fake_app, picture, png_bomb
from tests.serve.open_inference_requests import (
    binary_body,
    bytes_tensor,
    photos_body,
    read_response,
    tensor,
)

INFER = "/v2/models/lesion/infer"
HTML = b"<!doctype html><html></html>"


def infer(client: TestClient, *photos: bytes, **options: Any) -> dict[str, Any]:
    """Return the outputs of photos."""
    body, headers = photos_body(*photos, **options)
    return outputs_of(client.post(INFER, content=body, headers=headers))


def json_photo() -> dict[str, Any]:
    data = [base64.b64encode(picture()).decode()]
    return {"name": "photo", "datatype": "BYTES", "shape": [1], "data": data}


def outputs_of(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return read_response(answer.content, answer.headers.get("inference-header-content-length"))


def test_a_request_that_lists_no_outputs_gets_the_default_ones(client: TestClient):
    outputs = infer(client, picture())

    assert outputs["verdict"] == [b"benign"]
    assert outputs["reasons"] == [b"[]"]
    assert outputs["diagnosis"] == [b"Nevus"]
    assert outputs["usable"] == b"\1"
    assert np.frombuffer(outputs["malignant_probability"], "<f4").tolist() == pytest.approx([0.2])
    assert np.frombuffer(outputs["diagnoses"], "<f4").tolist() == pytest.approx([0.7, 0.3])
    assert np.frombuffer(outputs["lesion_box"], "<i4").tolist() == [-1] * 4
    assert len(outputs) == 7


def test_a_json_request_gets_a_json_response(client: TestClient):
    answer = client.post(INFER, json={"id": "7", "inputs": [json_photo()]})

    assert answer.headers["content-type"] == "application/json"
    assert {name: answer.json()[name] for name in ("id", "model_name", "model_version")} == {
        "id": "7",
        "model_name": "lesion-fake",
        "model_version": "1",
    }
    assert answer.json()["outputs"][0] == {
        "name": "verdict",
        "datatype": "BYTES",
        "shape": [1],
        "data": ["benign"],
    }
    shapes = {one["name"]: (one["datatype"], one["shape"]) for one in answer.json()["outputs"]}
    assert shapes["usable"] == ("BOOL", [1])
    assert shapes["diagnoses"] == ("FP32", [1, 2])
    assert shapes["lesion_box"] == ("INT32", [1, 4])
    assert outputs_of(answer)["usable"] == [True]


def test_json_and_binary_outputs_are_mixed_as_requested(client: TestClient):
    data = bytes_tensor(picture())
    content = {
        "inputs": [tensor("photo", "BYTES", [1], len(data))],
        "outputs": [{"name": "labels", "parameters": {"binary_data": True}}, {"name": "usable"}],
    }
    body, headers = binary_body(content, data)

    outputs = outputs_of(client.post(INFER, content=body, headers=headers))

    assert outputs == {"labels": [b"Nevus", b"Melanoma"], "usable": [True]}


def test_a_raw_body_is_one_photo(client: TestClient):
    answer = client.post(INFER, content=picture(), headers={"inference-header-content-length": "0"})

    assert outputs_of(answer)["verdict"] == ["benign"]


def test_the_answer_is_that_of_v1_with_its_options(client: TestClient):
    expected = client.post("/v1/lesion?explain=true&top_k=1", content=picture()).json()

    answer = infer(client, picture(), outputs=["answer"], parameters={"explain": True, "top_k": 1})

    assert json.loads(answer["answer"][0]) == expected
    assert LesionAnswer.model_validate(expected).heatmap_png


def test_the_photos_of_a_batch_keep_their_order(client: TestClient, models: FakeModels):
    colours = [(200, 120, 100), (90, 120, 100), (160, 50, 60)]

    outputs = infer(client, *(picture("PNG", colour=one) for one in colours))

    assert outputs["verdict"] == [b"benign"] * 3
    assert len(models.photos) == 3
    assert len(outputs["diagnoses"]) == 3 * 2 * 4


def test_pixels_are_classified_as_the_same_photo(client: TestClient, models: FakeModels):
    pixels_HWC = np.random.default_rng(1).integers(0, 256, (70, 90, 3)).astype(np.uint8)
    images_NHWC = np.stack([pixels_HWC, 255 - pixels_HWC])
    content = {"inputs": [tensor("image", "UINT8", images_NHWC.shape, images_NHWC.size)]}
    body, headers = binary_body(content, images_NHWC.tobytes())

    answer = client.post(INFER, content=body, headers=headers)

    assert outputs_of(answer)["verdict"] == ["benign", "benign"]
    assert [photo.image_HWC.shape for photo in models.photos] == [(32, 32, 3)] * 2


def test_an_unusable_photo_is_an_answer(client: TestClient):
    dark = picture("PNG", colour=(0, 0, 0))

    outputs = infer(client, dark, picture())

    assert outputs["verdict"] == [b"inconclusive", b"benign"]
    assert outputs["usable"] == b"\0\1"
    assert json.loads(outputs["reasons"][0])[0]["code"] == "too_dark"
    assert np.isnan(np.frombuffer(outputs["malignant_probability"], "<f4")).tolist() == [True, False]
    assert np.isnan(np.frombuffer(outputs["diagnoses"], "<f4")).tolist() == [True, True, False, False]
    in_json = infer(client, dark, outputs=["malignant_probability"], binary_output=False)
    assert in_json == {"malignant_probability": [None]}


def test_an_inconclusive_verdict_has_a_probability_and_no_diagnosis(client: TestClient, models: FakeModels):
    models.thresholds = LesionThresholds(benign=0.1, malignant=0.5)

    outputs = infer(client, picture())

    assert (outputs["verdict"], outputs["diagnosis"]) == ([b"inconclusive"], [b""])
    assert np.frombuffer(outputs["malignant_probability"], "<f4")[0] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("photo", "status", "code"),
    [
        (HTML, 415, "unsupported_type"),
        (picture()[:200], 400, "unreadable_image"),
        (b"", 400, "unreadable_image"),
        (png_bomb(10_000, 6_000), 413, "too_many_pixels"),
        (bytes(20_000_001), 413, "too_large"),
    ],
)
def test_a_bad_photo_fails_the_request_unless_errors_are_requested(
    client: TestClient, photo: bytes, status: int, code: str
):
    alone, headers = photos_body(photo)
    among, headers_of_two = photos_body(picture(), photo)

    one = client.post(INFER, content=alone, headers=headers)
    two = client.post(INFER, content=among, headers=headers_of_two)
    outputs = infer(client, picture(), photo, outputs=["error", "verdict", "malignant_probability", "answer"])

    assert one.status_code == two.status_code == status
    assert one.json()["error"].startswith(f"{code}: ") and "photo 2" not in one.json()["error"]
    assert two.json()["error"].startswith(f"{code}: photo 2 of 2: ")
    assert outputs["error"][0] == b""
    assert json.loads(outputs["error"][1])["code"] == code
    assert outputs["verdict"] == [b"benign", b""]
    assert outputs["answer"][1] == b""
    assert np.isnan(np.frombuffer(outputs["malignant_probability"], "<f4")).tolist() == [False, True]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"parameters": {"top_k": 0}, "outputs": [{"name": "answer"}]}, "top_k is '0'; send a number from 1"),
        ({"parameters": {"top_k": True}, "outputs": [{"name": "answer"}]}, "top_k is 'True'"),
        ({"parameters": {"explain": 1}, "outputs": [{"name": "answer"}]}, "explain is 1; send true or false"),
        ({"parameters": {"explain": True}}, "parameter explain has no effect; request the output answer"),
        ({"outputs": [{"name": "heatmap"}]}, "output 'heatmap' is unknown; the model has verdict, reasons"),
    ],
)
def test_wrong_parameters_are_rejected(client: TestClient, content: dict[str, Any], match: str):
    answer = client.post(INFER, json={"inputs": [json_photo()], **content})

    assert answer.status_code == 422
    assert match in answer.json()["error"]


def test_photos_and_pixels_together_are_rejected(client: TestClient):
    data = bytes_tensor(b"x")
    inputs = [tensor("photo", "BYTES", [1], len(data)), tensor("image", "UINT8", [1, 1, 1, 3], 3)]
    body, headers = binary_body({"inputs": inputs}, data + bytes(3))

    answer = client.post(INFER, content=body, headers=headers)

    assert "the request has 2 inputs; send one: photo or image" in answer.json()["error"]


def test_a_named_model_answers(models: FakeModels):
    app = fake_app(models, lesion={"checkpoints": ["weights/lesion", "weights/other"]})
    client = TestClient(app)
    body, headers = photos_body(picture())

    other = client.post("/v2/models/other/versions/1/infer", content=body, headers=headers)
    default = client.post(INFER, content=body, headers=headers)

    assert other.status_code == default.status_code == 200
    assert models.called[-2:] == ["weights/other", ""]


def test_one_photo_of_many_is_never_rejected_for_the_others(models: FakeModels):
    """The photos of a request wait for each other, as those of ``/v1/lesion/batch``."""
    client = TestClient(fake_app(models, lesion={"max_photos_per_gateway": 1, "batch_concurrency": 2}))
    models.delay_s = 0.01

    outputs = infer(client, *[picture()] * 6)

    assert outputs["verdict"] == [b"benign"] * 6
    assert models.most_at_once <= 2


def test_batches_over_the_limit_are_rejected(models: FakeModels):
    app = fake_app(models, lesion={"max_batch_requests": 1})
    body, headers = photos_body(picture(), picture())

    with app.state.services["lesion"].batch_limiter.acquire():
        answer = TestClient(app).post(INFER, content=body, headers=headers)

    assert answer.status_code == 503
    assert answer.json()["error"].startswith("overloaded: 1 batches of lesions are in progress")
