import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from serve.gateway import Gateway
from serve.runtime.errors import EXAMPLES, STATUS
from serve.runtime.replica_client import LocalModelClient
from tests.serve.fakes import (
    FakeModels,
    error_of,
    fake_app,
    photo_without_face,
    picture,
    png_bomb,
    uploads,
)

ROOT = Path(__file__).parents[2]
OPENAPI = Path(__file__).with_name("openapi.json")
JPEG = {"content-type": "image/jpeg"}


def test_root_redirects_to_the_page(client: TestClient):
    answer = client.get("/")

    assert (answer.status_code, answer.headers["location"]) == (307, "ui/")


def test_unknown_paths_and_methods_are_rejected_in_json(client: TestClient):
    assert error_of(client.get("/v1/nothing"))[:2] == (404, "not_found")
    assert error_of(client.post("/v1/lesion/"))[:2] == (404, "not_found")
    wrong_method = client.get("/v1/lesion")
    assert error_of(wrong_method)[:2] == (405, "method_not_allowed")
    assert wrong_method.headers["allow"] == "POST"


def test_an_internal_error_is_answered_with_the_request_id_and_without_details(
    client: TestClient, models: FakeModels, caplog: pytest.LogCaptureFixture
):
    models.failure = ZeroDivisionError("a secret")

    answer = client.post("/v1/lesion", content=picture(), headers={"x-request-id": "abc.1"})

    status, code, message = error_of(answer)
    assert (status, code) == (500, "internal")
    assert "abc.1" in message and "secret" not in answer.text
    assert "request abc.1 failed" in caplog.text


def test_healthz_and_readyz(client: TestClient, models: FakeModels):
    models.dead = {"face"}

    assert client.get("/healthz").json()["status"] == "ok"
    not_yet = client.get("/readyz")
    models.dead = set()
    ready = client.get("/readyz")

    assert (not_yet.status_code, not_yet.json()) == (503, {"status": "starting", "waiting_for": ["face"]})
    assert (ready.status_code, ready.json()) == (200, {"status": "ok", "waiting_for": []})


async def test_the_health_check_fails_from_the_second_failure_in_a_row_of_a_network():
    class Network:
        is_stuck = False

        async def check_health(self) -> None:
            if self.is_stuck:
                raise RuntimeError("stuck")

    face, lesion = Network(), Network()
    replicas = {
        str(number): LocalModelClient(one, retry_after_s=2) for number, one in enumerate((face, lesion))
    }
    gateway: Any = SimpleNamespace(_replicas=replicas, _has_failed=False)
    deployment: Any = Gateway
    check = deployment.func_or_class.check_health

    for stuck in (False, True, False, True):
        face.is_stuck = stuck
        await check(gateway)
    with pytest.raises(RuntimeError, match="stuck"):
        await check(gateway)


def test_models_lists_the_loaded_networks_of_all_tasks(client: TestClient):
    loaded = client.get("/v1/models").json()["models"]

    assert [model["kind"] for model in loaded] == ["lesion", "progress"]


def test_docs_load_nothing_from_another_host(client: TestClient):
    page = client.get("/docs")

    assert "https://" not in page.text and "http://" not in page.text
    for path in ("docs/static/swagger-ui-bundle.js", "docs/static/swagger-ui.css", "openapi.json"):
        assert f'"{path}"' in page.text.replace("'", '"')
        assert client.get(f"/{path}").status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]


def test_openapi_is_frozen(client: TestClient):
    """After an intended change delete ``openapi.json``, run this twice and look at the diff."""
    found = client.get("/openapi.json").json()

    if not OPENAPI.exists():
        OPENAPI.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        pytest.fail(f"{OPENAPI.name} was missing and has been written; look at it, run the test again")
    assert found == json.loads(OPENAPI.read_text(encoding="utf-8")), (
        "the HTTP contract changed; see the docstring"
    )


def test_every_error_of_the_table_is_described(client: TestClient):
    paths = client.get("/openapi.json").json()["paths"]

    described = {
        code
        for path in paths.values()
        for operation in path.values()
        for response in operation["responses"].values()
        for code in response.get("content", {}).get("application/json", {}).get("examples", {})
    }
    assert described == set(STATUS) - {"method_not_allowed"}


def test_the_documented_examples_of_errors_are_real_messages(client: TestClient):
    faceless = uploads(*[photo_without_face()] * 3)
    dated = {"taken_at": ["2026-03-01", "monday"]}
    found = [
        client.get("/v1/lesions"),
        client.get("/v1/lesion"),
        client.post("/v1/report", content=picture(), headers={"accept": "text/html"}),
        client.post("/v1/lesion", content=b"<html>"),
        client.post("/v1/lesion", files=uploads(b"", field_name="file")),
        client.post("/v1/lesion", files=uploads(bytes(20_500_000), field_name="file")),
        client.post("/v1/lesion", content=png_bomb(10_000, 6000)),
        client.post("/v1/lesion?top_k=0", content=picture()),
        client.post("/v1/progress", files=faceless),
        client.post("/v1/progress", files=uploads(picture())),
        client.post("/v1/progress", files=uploads(*[picture()] * 31)),
        client.post("/v1/progress", files=uploads(picture(), picture()), data=dated),
    ]

    messages = dict(error_of(response)[1:] for response in found)
    assert messages.keys() == STATUS.keys() - {
        "unauthorized",
        "forbidden",
        "rate_limited",
        "feedback_quota",
        "overloaded",
        "model_unavailable",
        "feedback_unavailable",
        "jobs_unavailable",
        "unreadable_archive",
        "deadline_exceeded",
        "pdf_unavailable",
        "internal",
    }
    assert {code: message.removeprefix("photo 1: ") for code, message in messages.items()} == {
        code: example for code, example in EXAMPLES.items() if code in messages
    }


def test_an_unknown_query_parameter_is_rejected_with_the_known_ones(client: TestClient):
    lesion = error_of(client.post("/v1/lesion?topk=3", content=picture()))
    progress = error_of(client.post("/v1/progress?explain=true", files=uploads(picture(), picture())))

    assert lesion == (
        422,
        "invalid_request",
        "query parameter 'topk' is unknown; known are explain, top_k, box, model",
    )
    assert progress[2] == "query parameter 'explain' is unknown; known are model"


def test_query_parameters_are_checked_under_a_route_prefix():
    client = TestClient(fake_app(FakeModels()), root_path="/skin")

    assert client.post("/skin/v1/lesion?top_k=3", content=picture()).status_code == 200
    assert "'topk' is unknown" in error_of(client.post("/skin/v1/lesion?topk=3", content=picture()))[2]


def test_limits_are_settings():
    app = fake_app(FakeModels(), gateway={"max_photo_bytes": 100}, lesion={"max_batch_photos": 2})
    client = TestClient(app)

    assert error_of(client.post("/v1/lesion", content=picture(), headers=JPEG))[1] == "too_large"
    assert error_of(client.post("/v1/lesion/batch", files=uploads(b"", b"", b"")))[1] == "too_many_photos"


@pytest.mark.parametrize(
    "path", ["/v1/lesion", "/v1/lesion/batch", "/v1/report", "/v1/progress", "/predict", "/v1/models"]
)
def test_every_route_rejects_an_unknown_query_parameter(client: TestClient, path: str):
    method = "GET" if path == "/v1/models" else "POST"

    answer = error_of(client.request(method, f"{path}?topk=3"))

    assert answer[:2] == (422, "invalid_request") and "'topk' is unknown; " in answer[2]


def test_monitors_may_add_query_parameters_to_health_checks(client: TestClient):
    assert client.get("/healthz?time=1").status_code == client.get("/readyz?time=1").status_code == 200


def test_browsers_and_crawlers_get_an_icon_and_robots_txt(client: TestClient):
    icon, robots = client.get("/favicon.ico"), client.get("/robots.txt")

    assert icon.text == (ROOT / "ui" / "templates" / "favicon.svg").read_text(encoding="utf-8")
    assert icon.headers["content-type"] == "image/svg+xml"
    assert robots.text == "User-agent: *\nDisallow: /\n"
    assert all("max-age=86400" in answer.headers["cache-control"] for answer in (icon, robots))
