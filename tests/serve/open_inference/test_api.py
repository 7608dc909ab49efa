"""Routes that do not depend on a task, on fake models."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from serve.runtime import uploads
from serve.runtime.keys_file import KeyEntry, change_keys, key_digest
from tests.serve.fakes import FakeModels, fake_app, picture
from tests.serve.open_inference_requests import photos_body

INFER = "/v2/models/lesion/infer"


def error_of(response: Any) -> tuple[int, str, str]:
    """Status, code and message of an error response, after a check of its form."""
    assert set(response.json()) == {"error"}
    code, _, message = response.json()["error"].partition(": ")
    assert response.headers["x-request-id"]
    return response.status_code, code, message


def with_key(tmp_path: Path, *roles: str, models: FakeModels | None = None, **gateway: Any) -> TestClient:
    """Return a client of a server with one key, and that key in its headers."""
    file = tmp_path / "keys.yaml"
    key = "sk_0123456789abcdefghijkl"
    entry = KeyEntry.model_validate({"name": "one", "sha256": key_digest(key), "roles": roles, **gateway})
    change_keys(file, lambda entries: [entry])
    app = fake_app(models or FakeModels(), gateway={"keys_file": str(file)})
    return TestClient(app, headers={"authorization": f"Bearer {key}"})


def test_server_metadata(client: TestClient):
    assert client.get("/v2").json() == {
        "name": "skinserve",
        "version": "1",
        "extensions": ["binary_tensor_data", "model_repository", "statistics"],
    }


def test_health(client: TestClient, models: FakeModels):
    models.dead = {"face"}

    live, not_ready = client.get("/v2/health/live"), client.get("/v2/health/ready")
    lesion, progress = client.get("/v2/models/lesion/ready"), client.get("/v2/models/progress/ready")
    listed = client.post("/v2/repository/index", json={"ready": True})
    index = client.post("/v2/repository/index").json()
    models.dead = set()
    ready = client.get("/v2/health/ready")

    assert (live.status_code, live.json()) == (200, {"live": True})
    assert (not_ready.status_code, not_ready.json()) == (503, {"ready": False})
    assert (ready.status_code, ready.json()) == (200, {"ready": True})
    assert (lesion.status_code, lesion.json()) == (200, {"name": "lesion-fake", "ready": True})
    assert (progress.status_code, progress.json()) == (503, {"name": "progress-fake", "ready": False})
    assert [one["name"] for one in listed.json()] == ["lesion-fake"]
    assert index == [
        {"name": "lesion-fake", "version": "1", "state": "READY", "reason": ""},
        {"name": "progress-fake", "version": "1", "state": "UNAVAILABLE", "reason": "face is starting"},
    ]


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"ready": 1}', b"1" * 10_001])
def test_a_wrong_body_of_the_index_is_rejected(client: TestClient, body: bytes):
    assert error_of(client.post("/v2/repository/index", content=body))[0] in (413, 422)


@pytest.mark.parametrize("name", ["lesion", "lesion-fake", "lesion-fake/versions/1", "lesion/versions/1"])
def test_a_model_is_found_by_name_version_and_task(client: TestClient, name: str):
    metadata = client.get(f"/v2/models/{name}").json()

    assert (metadata["name"], metadata["versions"]) == ("lesion-fake", ["1"])
    assert metadata["platform"] == "skinserve_lesion"
    assert metadata["inputs"] == [
        {"name": "photo", "datatype": "BYTES", "shape": [-1]},
        {"name": "image", "datatype": "UINT8", "shape": [-1, -1, -1, 3]},
    ]
    diagnoses = next(one for one in metadata["outputs"] if one["name"] == "diagnoses")
    assert diagnoses["shape"] == [-1, 2]
    assert diagnoses["parameters"] == {"labels": ["Nevus", "Melanoma"]}


@pytest.mark.parametrize("path", ["", "/ready", "/stats"])
@pytest.mark.parametrize("name", ["nothing", "lesion/versions/9", "lesion-fake/versions/2", "lesion@1"])
def test_an_unknown_model_is_not_found(client: TestClient, name: str, path: str):
    status, code, message = error_of(client.get(f"/v2/models/{name}{path}"))

    assert (status, code) == (404, "not_found")
    assert "POST /v2/repository/index lists the models, and lesion and progress mean the default" in message


def test_an_unknown_model_is_rejected_without_reading_the_photo(client: TestClient):
    body, headers = photos_body(picture())

    assert error_of(client.post("/v2/models/nothing/infer", content=body, headers=headers))[0] == 404


def test_unknown_paths_methods_and_parameters_have_the_errors_of_the_protocol(client: TestClient):
    assert error_of(client.get("/v2/nothing"))[:2] == (404, "not_found")
    assert error_of(client.get(INFER))[:2] == (405, "method_not_allowed")
    assert error_of(client.get("/v2?a=1"))[:2] == (422, "invalid_request")
    assert client.get("/v1/nothing").json()["error"]["code"] == "not_found", "other routes keep theirs"
    assert client.get("/v2x").json()["error"]["code"] == "not_found"


def test_head_is_answered(client: TestClient):
    assert client.head("/v2/health/live").status_code == 200
    assert client.head("/v2/nothing").status_code == 404


def test_statistics_count_requests_photos_and_failures(client: TestClient):
    good, headers = photos_body(picture(), picture())
    bad, _ = photos_body(b"<html>")
    client.post(INFER, content=good, headers=headers)
    client.post(INFER, content=bad, headers=headers)

    one = client.get("/v2/models/lesion/stats").json()["model_stats"][0]
    every = client.get("/v2/models/stats").json()["model_stats"]

    assert (one["name"], one["inference_count"], one["execution_count"]) == ("lesion-fake", 2, 1)
    assert one["inference_stats"]["success"]["count"] == one["inference_stats"]["fail"]["count"] == 1
    assert one["inference_stats"]["success"]["ns"] > 0 and one["last_inference"] > 1.7e12
    assert [model["name"] for model in every] == ["lesion-fake", "progress-fake"]


def test_health_needs_no_key_and_everything_else_does(tmp_path: Path):
    client = with_key(tmp_path, "predict")
    del client.headers["authorization"]

    assert client.get("/v2/health/live").status_code == client.get("/v2/health/ready").status_code == 200
    for path in ("/v2", "/v2/models/stats", "/v2/models/lesion", "/v2/models/lesion/ready", "/v2/x"):
        assert error_of(client.get(path))[:2] == (401, "unauthorized")
    assert error_of(client.post("/v2/repository/index"))[:2] == (401, "unauthorized")
    answer = client.post(INFER, content=b"{}")
    assert error_of(answer)[:2] == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("role", "num_photos", "status"),
    [("predict", 1, 200), ("predict", 2, 403), ("bulk", 1, 200), ("bulk", 2, 200), ("admin", 2, 200)],
)
def test_several_photos_need_the_role_bulk(tmp_path: Path, role: str, num_photos: int, status: int):
    body, headers = photos_body(*[picture()] * num_photos)

    answer = with_key(tmp_path, role).post(INFER, content=body, headers=headers)

    assert answer.status_code == status
    if status == 403:
        found = "a request of several photos needs the role bulk or admin, this key has predict"
        assert error_of(answer)[2].startswith(found)


def test_photos_count_in_the_quota_of_the_key(tmp_path: Path):
    client = with_key(tmp_path, "bulk", limit={"photos_per_day": 3})
    body, headers = photos_body(picture(), picture())

    first = client.post(INFER, content=body, headers=headers)
    second = client.post(INFER, content=body, headers=headers)

    assert first.status_code == 200
    status, code, message = error_of(second)
    assert (status, code) == (429, "rate_limited")
    assert "1 of them are left, the request has 2" in message
    assert int(second.headers["retry-after"]) > 0


def test_overload_is_503_with_retry_after(models: FakeModels):
    app = fake_app(models, gateway={"max_bytes_in_flight": 100})
    body, headers = photos_body(picture())

    answer = TestClient(app).post(INFER, content=body, headers=headers)

    assert error_of(answer)[:2] == (503, "overloaded")
    assert answer.headers["retry-after"] == "2"


def test_a_request_ends_at_its_deadline(client: TestClient, models: FakeModels):
    models.delay_s = 60
    body, headers = photos_body(picture(), picture())

    answer = client.post(INFER, content=body, headers={**headers, "x-request-timeout-seconds": "0.2"})

    assert error_of(answer)[:2] == (504, "deadline_exceeded")
    assert models.num_cancelled == models.num_calls


async def test_a_body_that_stops_is_rejected(models: FakeModels, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(uploads, "MAX_UPLOAD_PAUSE_S", 0.1)
    body, headers = photos_body(picture())
    stopped = asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        yield body[: len(body) // 2]
        await stopped.wait()

    transport = httpx.ASGITransport(fake_app(models))
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        answer = await client.post(INFER, content=half(), headers=headers)

    assert error_of(answer)[:2] == (504, "deadline_exceeded")
    assert "bytes of the body arrived in" in answer.json()["error"]


def test_an_internal_error_has_the_request_id_and_no_details(client: TestClient, models: FakeModels):
    models.failure = ZeroDivisionError("a secret")
    body, headers = photos_body(picture())

    answer = client.post(INFER, content=body, headers={**headers, "x-request-id": "abc.1"})

    status, code, message = error_of(answer)
    assert (status, code) == (500, "internal")
    assert "abc.1" in message and "secret" not in answer.text
    assert answer.headers["x-request-id"] == "abc.1"


def test_a_body_over_the_limit_is_rejected(models: FakeModels):
    client = TestClient(fake_app(models, gateway={"max_request_bytes": 1000}))
    body, headers = photos_body(bytes(1000))

    assert error_of(client.post(INFER, content=body, headers=headers))[:2] == (413, "too_large")


def test_a_compressed_request_is_decoded(client: TestClient):
    body, headers = photos_body(picture())

    answer = client.post(INFER, content=gzip.compress(body), headers={**headers, "content-encoding": "gzip"})

    assert answer.status_code == 200


@pytest.mark.parametrize("length", ["²".encode("latin-1"), b"9" * 5000, b"-1", b"", b"1000"])
async def test_a_wrong_length_of_the_json_part_is_rejected(models: FakeModels, length: bytes):
    body, _ = photos_body(picture())
    headers = {b"inference-header-content-length": length}  # TestClient encodes it as UTF-8

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(fake_app(models)), base_url="http://server"
    ) as client:
        answer = await client.post(INFER, content=body[:900], headers=headers)

    status, code, message = error_of(answer)

    assert (status, code) == (422, "invalid_request")
    assert message.startswith("the header Inference-Header-Content-Length is ")


def test_the_audit_log_has_the_declared_route(tmp_path: Path, models: FakeModels):
    log = tmp_path / "audit.log"
    app = fake_app(models, gateway={"audit_log": str(log)})
    client = TestClient(app)
    body, headers = photos_body(picture())
    client.post(INFER, content=body, headers=headers)
    client.get("/v2/models/Mrs-Secret/ready")
    client.get("/v2/health/live")
    app.state.audit_log.close()

    lines = [json.loads(line) for line in log.read_text().splitlines()]

    assert [(line["method"], line["route"], line["status"]) for line in lines] == [
        ("POST", "/v2/models/{model_name}/infer", 200),
        ("GET", "/v2/models/{model_name}/ready", 404),
    ]
    assert "Secret" not in log.read_text()


def test_the_number_of_photos_is_bounded(client: TestClient):
    body, headers = photos_body(*[b""] * 65)

    assert error_of(client.post(INFER, content=body, headers=headers))[:2] == (422, "too_many_photos")
