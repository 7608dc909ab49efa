import json
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.serve.fakes import photo_without_face, picture, uploads
from tests.serve.open_inference_requests import (
    binary_body,
    bytes_tensor,
    photos_body,
    read_response,
    tensor,
)

INFER = "/v2/models/progress/infer"
SERIES = [picture(colour=(red, 120, 100)) for red in (150, 180, 210)]
TIMES = ["2026-03-01", "2026-02-01", "2026-01-01"]


def infer(client: TestClient, *photos: bytes, **options: Any) -> dict[str, Any]:
    body, headers = photos_body(*photos, **options)
    answer = client.post(INFER, content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return read_response(answer.content, answer.headers.get("inference-header-content-length"))


def test_a_request_is_one_series(client: TestClient):
    expected = client.post("/v1/progress", files=uploads(*SERIES)).json()

    outputs = infer(client, *SERIES, outputs=["verdict", "reasons", "improved_probability", "answer"])

    assert outputs["verdict"] == [expected["verdict"].encode()]
    assert json.loads(outputs["reasons"][0]) == expected["reasons"]
    assert json.loads(outputs["answer"][0]) == expected
    improved = np.frombuffer(outputs["improved_probability"], "<f4")
    assert improved.tolist() == pytest.approx([expected["improved_probability"]], abs=1e-6)


def test_times_sort_the_photos(client: TestClient):
    photos, times = bytes_tensor(*SERIES), bytes_tensor(*(time.encode() for time in TIMES))
    content = {
        "inputs": [tensor("photo", "BYTES", [3], len(photos)), tensor("taken_at", "BYTES", [3], len(times))],
        "outputs": [{"name": "answer"}],
    }
    body, headers = binary_body(content, photos + times)

    answer = client.post(INFER, content=body, headers=headers)

    series = json.loads(answer.json()["outputs"][0]["data"][0])
    assert (series["order"], [photo["index"] for photo in series["photos"]]) == ("taken_at", [2, 1, 0])


@pytest.mark.parametrize(
    ("photos", "code"),
    [
        (SERIES[:1], "too_few_photos"),
        ([photo_without_face()] * 2, "no_face"),
        ([SERIES[0], b"<html>"], "unsupported_type"),
    ],
)
def test_a_series_that_cannot_be_classified_is_an_error(client: TestClient, photos: list[bytes], code: str):
    body, headers = photos_body(*photos)

    assert client.post(INFER, content=body, headers=headers).json()["error"].startswith(f"{code}: ")


def test_a_request_without_photos_is_rejected(client: TestClient):
    times = {"name": "taken_at", "datatype": "BYTES", "shape": [1], "data": ["2026-01-01"]}

    answer = client.post(INFER, json={"inputs": [times]})

    assert "the request has no input 'photo'; send the photos of one series" in answer.json()["error"]
