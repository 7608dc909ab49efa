import itertools
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette._utils import get_route_path
from starlette.routing import Route

from serve import gateway, tasks
from serve.feedback import api as feedback
from serve.jobs import api as jobs
from serve.open_inference import api as open_inference
from serve.runtime import auth, key_ring, root_files
from serve.runtime.admission import LoadSheddingMiddleware, RequestIdMiddleware
from serve.runtime.auth import AuthMiddleware, Authorizer, route_path
from serve.runtime.callers import caller_of
from serve.runtime.errors import EXAMPLES, overloaded
from serve.runtime.key_ring import KeyRing
from serve.runtime.keys_file import KeyEntry, change_keys, key_digest
from tests.serve.fakes import FakeModels, error_of, fake_app, picture

ORIGIN = "https://clinic.example"
ROLES: dict[str, list[str]] = {"predictor": ["predict"], "batcher": ["bulk"], "boss": ["admin"]}
METHODS = (
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "PROPFIND",
    "healthz",
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Keys that are their own names."""
    entries = [
        KeyEntry.model_validate({"name": name, "sha256": key_digest(name), "roles": roles})
        for name, roles in ROLES.items()
    ]
    change_keys(tmp_path / "keys.yaml", lambda _: entries)
    return tmp_path / "keys.yaml"


@pytest.fixture
def app(file: Path) -> FastAPI:
    return fake_app(FakeModels(), gateway={"keys_file": str(file)})


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://skin.example") as one:
        yield one


def paths_of(app: FastAPI) -> set[str]:
    """Paths of all routes, also of those that OpenAPI leaves out."""
    shared = [feedback.router, jobs.router, open_inference.router, gateway.router, root_files.router]
    routers = [task.router for task in tasks.TASKS] + shared
    found = [*app.routes, *(route for router in routers for route in router.routes)]
    assert len(app.routes) == len(routers) + 3, "a router was added to the gateway; add it here"
    return {route.path for route in found if isinstance(route, Route)}


HEALTH = {"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"}


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def test_health_needs_no_key(client: httpx.AsyncClient):
    for path, method in itertools.product(HEALTH, ("GET", "HEAD")):
        assert (await client.request(method, path)).status_code == 200


async def test_every_route_rejects_a_request_without_a_key(client: httpx.AsyncClient, app: FastAPI):
    for path, method in itertools.product(sorted(paths_of(app) - HEALTH), METHODS):
        answer = await client.request(method, path)

        assert answer.status_code == 401, (method, path)
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "path",
    [
        "/healthz/",
        "//healthz",
        "/healthz/%2e%2e",
        "/%2e/healthz",
        "/HEALTHZ",
        "/healthz%00",
        "/healthz%2f",
        "/healthz;a=b",
        "/v1/%2e%2e/healthz/%2e%2e/v1/models",
        "/docs/static/swagger-ui.css",
        "/docs/static/%2e%2e/%2e%2e/healthz",
        "/ui/",
        "/v2/health/live/",
        "/v2/health/ready/x",
        "/v2/health",
        "/v2",
        "/-/routes",
        "/-/healthz",
        "/metrics",
        "/nothing",
        "/%6fpenapi.json",
        "/v1/models?key=boss",
        "/v1/models?access_token=boss",
    ],
)
async def test_a_path_beside_health_needs_a_key(client: httpx.AsyncClient, path: str):
    for method in ("GET", "POST", "HEAD"):
        assert (await client.request(method, path)).status_code == 401, method


async def test_the_encoded_path_of_health_is_health_as_for_routing(client: httpx.AsyncClient):
    assert (await client.get("/%68ealthz")).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "OPTIONS", "get", "GET "])
async def test_other_methods_on_health_need_a_key(client: httpx.AsyncClient, method: str):
    request = client.build_request("GET", "/healthz")
    request.method = method

    assert (await client.send(request)).status_code == 401


async def test_both_headers_and_any_case_of_bearer_are_accepted(client: httpx.AsyncClient):
    for headers in (
        bearer("predictor"),
        {"authorization": "bearer  predictor"},
        {"X-API-Key": "predictor"},
        {"x-api-key": "predictor", **bearer("predictor")},
    ):
        assert (await client.get("/v1/models", headers=headers)).status_code == 200, headers


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ([], "the request has no key"),
        ([("authorization", "Bearer")], "has another form than Bearer KEY"),
        ([("authorization", "predictor")], "has another form than Bearer KEY"),
        ([("authorization", "Basic cHJlZGljdG9yOg==")], "has another form than Bearer KEY"),
        ([("authorization", "Basic cHJlZGljdG9yOg=="), ("x-api-key", "predictor")], "another form"),
        ([("authorization", "Bearer predictor, Bearer boss")], "another form"),
        ([("authorization", "Bearer predictor boss")], "another form"),
        ([("authorization", "Bearer prédictor")], "another form"),
        ([("x-api-key", "")], "X-API-Key has no key"),
        ([("x-api-key", "predictor"), ("authorization", "Bearer boss")], "two different keys"),
        ([("authorization", "Bearer predictor"), ("authorization", "Bearer boss")], "two different keys"),
        ([("x-api-key", "predictor"), ("x-api-key", "nobody")], "two different keys"),
        ([("x-api-key", "a" * 16_385)], "more than 16384 characters"),
        ([("x-api-key", "nobody")], "the key is not valid"),
        ([("x-api-key", "a.b.c")], "the key is not valid"),
        ([("x-api-key", key_digest("boss"))], "the key is not valid"),
    ],
)
async def test_other_credentials_are_rejected(
    client: httpx.AsyncClient, headers: list[tuple[str, str]], message: str
):
    encoded = [(name, value.encode("latin-1")) for name, value in headers]

    answer = await client.get("/v1/models", headers=[(name.encode(), value) for name, value in encoded])

    assert error_of(answer)[:2] == (401, "unauthorized")
    assert message in answer.json()["error"]["message"]
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v1/lesion", {"predictor", "boss"}),
        ("POST", "/v1/report", {"predictor", "boss"}),
        ("POST", "/v1/progress", {"predictor", "boss"}),
        ("POST", "/predict", {"predictor", "boss"}),
        ("POST", "/v1/lesion/batch", {"batcher", "boss"}),
        ("POST", "/v1/feedback", {"predictor", "boss"}),
        ("DELETE", "/v1/feedback/receipt", {"predictor", "boss"}),
        ("GET", "/v1/models", {"predictor", "batcher", "boss"}),
        ("GET", "/v2", {"predictor", "batcher", "boss"}),
        ("GET", "/v2/models/lesion", {"predictor", "batcher", "boss"}),
        ("POST", "/v2/models/lesion/infer", {"predictor", "batcher", "boss"}),
        ("GET", "/docs", {"predictor", "batcher", "boss"}),
        ("GET", "/docs/static/swagger-ui.css", {"predictor", "batcher", "boss"}),
        ("GET", "/openapi.json", {"predictor", "batcher", "boss"}),
        ("GET", "/", {"predictor", "batcher", "boss"}),
    ],
)
async def test_a_route_needs_its_role(client: httpx.AsyncClient, method: str, path: str, allowed: set[str]):
    answers = {key: await client.request(method, path, headers=bearer(key)) for key in ROLES}

    assert {key for key, answer in answers.items() if answer.status_code not in (401, 403)} == allowed
    for answer in answers.values():
        assert answer.status_code != 403 or error_of(answer)[1] == "forbidden"


async def test_every_route_has_roles(app: FastAPI):
    """A route that is added without roles would answer 404 to everybody but admin."""
    by_prefix = {path for path in paths_of(app) if path.startswith(tuple(auth.ROLES_OF_PREFIX))}

    of_models = {path for path in by_prefix if path.startswith("/v2/models/")}
    assert by_prefix - of_models == {"/v1/feedback/{receipt}", "/v1/jobs/{id}", "/v1/jobs/{id}/results"}
    assert len(of_models) == 9, "metadata, ready, stats and infer, with and without a version; stats of all"
    assert paths_of(app) - by_prefix | {"/v2/models/stats"} == set(auth.ROLES_OF_PATH)


async def test_an_unknown_path_is_not_found_with_any_key(client: httpx.AsyncClient):
    answers = [await client.get("/nothing", headers=bearer(key)) for key in ROLES]

    assert {error_of(answer) for answer in answers} == {
        (404, "not_found", "there is no route GET /nothing; /docs lists all routes")
    }


async def test_the_documented_examples_are_real_messages(client: httpx.AsyncClient):
    without = await client.get("/v1/models")
    without_role = await client.post("/v1/lesion/batch", headers=bearer("predictor"))

    assert error_of(without)[2] == EXAMPLES["unauthorized"]
    assert error_of(without_role)[2] == EXAMPLES["forbidden"]


async def test_a_photo_is_classified_with_a_key(client: httpx.AsyncClient):
    answer = await client.post("/v1/lesion", content=picture(), headers=bearer("predictor"))

    assert answer.status_code == 200


async def test_a_revoked_key_is_rejected_without_a_restart(
    client: httpx.AsyncClient, file: Path, monkeypatch: pytest.MonkeyPatch
):
    assert (await client.get("/v1/models", headers=bearer("boss"))).status_code == 200
    monkeypatch.setattr(key_ring, "CHECK_EVERY_S", 0)

    change_keys(file, lambda entries: [one for one in entries if one.name != "boss"])

    assert (await client.get("/v1/models", headers=bearer("boss"))).status_code == 401


async def test_the_openapi_document_names_both_kinds_of_keys(client: httpx.AsyncClient):
    document = (await client.get("/openapi.json", headers=bearer("boss"))).json()

    assert set(document["components"]["securitySchemes"]) == {"bearer", "apiKey"}
    assert document["security"] == [{"bearer": []}, {"apiKey": []}]
    assert document["paths"]["/healthz"]["get"]["security"] == []
    assert {"401", "403"} <= set(document["paths"]["/v1/lesion"]["post"]["responses"])


# --- other origins, prefixes, other protocols ---


async def test_only_preflight_requests_of_configured_origins_need_no_key(file: Path):
    gateway = {"keys_file": str(file), "allowed_origins": [ORIGIN]}
    transport = httpx.ASGITransport(fake_app(FakeModels(), gateway=gateway))
    preflight = {"origin": ORIGIN, "access-control-request-method": "POST"}
    async with httpx.AsyncClient(transport=transport, base_url="http://skin.example") as client:
        asked = {**preflight, "access-control-request-headers": "authorization, x-api-key"}
        allowed = await client.options("/v1/lesion", headers=asked)
        plain = await client.options("/v1/lesion", headers={"origin": ORIGIN})
        rejected = await client.post("/v1/lesion", headers={"origin": ORIGIN})

    assert allowed.status_code == 200
    assert "authorization" in allowed.headers["access-control-allow-headers"].lower()
    assert (plain.status_code, rejected.status_code) == (401, 401)
    assert rejected.headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize("prefix", ["", "/", "/skin", "/skin/clinic", "/healthz"])
def test_the_path_is_that_of_the_router(prefix: str):
    for path in (
        "/healthz",
        "/skin",
        "/skin/",
        "/skin/healthz",
        "/skinhealthz",
        "/skin//healthz",
        "//healthz",
    ):
        scope = {"type": "http", "path": path, "root_path": prefix}

        assert route_path(scope) == get_route_path(scope)


async def test_a_websocket_is_closed(file: Path):
    sent: list[Any] = []

    async def inner(*_: Any) -> None:
        raise AssertionError("reached")

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    middleware = AuthMiddleware(inner, Authorizer(KeyRing(file)))
    scope = {"type": "websocket", "path": "/healthz", "headers": [(b"x-api-key", b"boss")]}
    await middleware(scope, receive, send)

    assert sent == [{"type": "websocket.close", "code": 1008}]


async def test_the_caller_is_in_the_scope(file: Path):
    found: list[str] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        found.append(caller_of(scope).name)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    transport = httpx.ASGITransport(AuthMiddleware(inner, Authorizer(KeyRing(file))))
    async with httpx.AsyncClient(transport=transport, base_url="http://skin.example") as client:
        await client.get("/v1/models", headers=bearer("predictor"))
        await client.get("/healthz", headers=bearer("predictor"))

    assert found == ["key:predictor", "anonymous"]


async def test_an_unexpected_failure_closes_the_gate(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(KeyRing, "caller", lambda *_: 1 / 0)

    answer = await client.get("/v1/models", headers=bearer("predictor"))

    assert error_of(answer)[:2] == (500, "internal")
    assert "predictor" not in caplog.text


# --- a full server ---


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), (bearer("nobody"), 401), (bearer("batcher"), 403), (bearer("boss"), 503)],
)
async def test_only_callers_with_a_key_learn_that_the_server_is_full(
    file: Path, headers: dict[str, str], status: int
):
    def full() -> None:
        raise overloaded("32 photos are in progress", 2)

    async def inner(*_: Any) -> None:
        raise AssertionError("reached")

    shedding = LoadSheddingMiddleware(inner, {"/v1/lesion": full}, [], [Authorizer(KeyRing(file))])
    transport = httpx.ASGITransport(RequestIdMiddleware(shedding))
    async with httpx.AsyncClient(transport=transport, base_url="http://skin.example") as client:
        answer = await client.post("/v1/lesion", headers=headers)

    assert error_of(answer)[0] == status
    assert status == 503 or "in progress" not in answer.text


# --- logs and time ---


async def test_no_key_is_logged(
    client: httpx.AsyncClient, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("DEBUG", "skinserve")
    monkeypatch.setattr(key_ring, "CHECK_EVERY_S", 0)
    for key in ("boss", "nobody"):
        await client.get("/v1/models", headers=bearer(key))
    file.write_text(f"keys:\n  - {{name: boss, sha256: {key_digest('boss')}, roles: [king]}}")
    await client.get("/v1/models", headers=bearer("boss"))

    assert "king" not in caplog.text and "keys.0.roles.0" in caplog.text
    assert "nobody" not in caplog.text and key_digest("boss") not in caplog.text


@pytest.mark.parametrize("num_keys", [1, 1000])
async def test_a_key_costs_less_than_30_microseconds(tmp_path: Path, num_keys: int):
    names = [f"key-{number}" for number in range(num_keys)]
    entries = [KeyEntry(name=name, sha256=key_digest(name), roles=("predict",)) for name in names]
    change_keys(tmp_path / "keys.yaml", lambda _: entries)
    authorizer = Authorizer(KeyRing(tmp_path / "keys.yaml"))
    headers = [(f"x-header-{number}".encode(), b"value") for number in range(10)]
    headers.append((b"authorization", f"Bearer {names[-1]}".encode()))
    scope = {"type": "http", "method": "POST", "path": "/v1/lesion", "headers": headers}

    shortest = min([await _seconds(authorizer, scope) for _ in range(50)])

    assert shortest < 30e-6


async def _seconds(authorizer: Authorizer, scope: dict[str, Any]) -> float:
    began = time.process_time()
    for _ in range(200):
        await authorizer.caller(scope)
    return (time.process_time() - began) / 200
