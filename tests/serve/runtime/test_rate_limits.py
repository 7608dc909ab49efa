"""The limits through the HTTP API of one gateway, on fake models."""

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.config import GatewayConfig, Limit
from serve.runtime.admission import RequestIdMiddleware
from serve.runtime.callers import CALLER, Caller
from serve.runtime.errors import EXAMPLES
from serve.runtime.leases import LeaseClient
from serve.runtime.limit_ledger import LimitLedger
from serve.runtime.rate_limits import RateLimitMiddleware, client_name, limit_notices
from tests.serve.fakes import FakeModels, error_of, fake_app, photo_without_face, picture, uploads

SECRET = "secret-of-the-proxy"
HEADERS = ("retry-after", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset")
Connect = Callable[..., httpx.AsyncClient]


@pytest.fixture
def proxy(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "secret").write_text(SECRET)
    return {"name": "nginx", "secret_file": str(tmp_path / "secret")}


@pytest.fixture
async def connect(models: FakeModels) -> AsyncIterator[Connect]:
    """Return a client of a gateway with settings."""
    clients: list[httpx.AsyncClient] = []

    def connect(app: ASGIApp | None = None, **gateway: Any) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app or fake_app(models, gateway=gateway), client=("127.0.0.1", 1))
        clients.append(httpx.AsyncClient(transport=transport, base_url="http://server"))
        return clients[-1]

    yield connect
    for client in clients:
        await client.aclose()


class SetCaller:
    """Set a caller, as ``AuthMiddleware`` does."""

    def __init__(self, app: ASGIApp, caller: Caller) -> None:
        self._app = app
        self.caller = caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope[CALLER] = self.caller
        await self._app(scope, receive, send)


def app_with_caller(models: FakeModels, name: str, **limit: Any) -> SetCaller:
    """Return the API with a caller that may be changed."""
    leases = LeaseClient(LimitLedger().call, slow_call_s=20)
    limited = RateLimitMiddleware(fake_app(models), leases, client_limit=None)
    caller = Caller(name=name, roles=frozenset(), limit=Limit.model_validate(limit))
    return SetCaller(RequestIdMiddleware(limited), caller)


async def test_a_request_over_the_limit_gets_429_before_its_body_is_read(
    connect: Connect, models: FakeModels
):
    client = connect(client_limit={"requests_per_second": 0.1, "burst": 1})
    first = await client.post("/v1/lesion", content=picture())

    async def body() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    second = await client.post("/v1/lesion", content=body())

    assert first.status_code == 200
    status, code, message = error_of(second)
    assert (status, code) == (429, "rate_limited")
    assert message.startswith("more than 0.1 requests per second were sent by all clients without a key")
    assert message.endswith("try again in 10 s")
    assert [second.headers[name] for name in HEADERS] == ["10", "1", "0", "10"]
    assert len(models.photos) == 1


async def test_an_accepted_request_states_the_limit(connect: Connect):
    client = connect(client_limit={"requests_per_second": 0.5, "burst": 3})

    answer = await client.get("/v1/models")

    assert [answer.headers.get(name) for name in HEADERS] == [None, "3", "2", "2"]


async def test_health_checks_are_not_limited(connect: Connect):
    client = connect(client_limit={"requests_per_second": 0.01, "burst": 1})

    for _ in range(5):
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.head("/readyz")).status_code == 200
    assert (await client.post("/healthz")).status_code == 405
    assert (await client.post("/healthz")).status_code == 429


async def test_without_a_limit_there_are_no_headers(connect: Connect):
    answer = await connect().get("/v1/models")

    assert not {*HEADERS} & {*answer.headers}


async def test_clients_of_a_trusted_proxy_are_limited_by_address(connect: Connect, proxy: dict[str, str]):
    client = connect(client_limit={"requests_per_second": 0.01, "burst": 1}, trusted_proxy=proxy)

    async def status(address: str, secret: str = SECRET) -> int:
        headers = {"x-forwarded-for": address, "x-skinserve-proxy-secret": secret}
        return (await client.get("/v1/models", headers=headers)).status_code

    assert [await status("192.0.2.7"), await status("192.0.2.8"), await status("192.0.2.7")] == [
        200,
        200,
        429,
    ]
    assert await status("203.0.113.5, 192.0.2.7") == 429, "an address before the last one is the client's"
    assert [await status("2001:db8::1"), await status("2001:db8::ffff:2")] == [200, 429], "one /64"
    assert await status("2001:db8:0:1::1") == 200
    assert [await status("198.51.100.1", secret="forged-secret-000"), await status("198.51.100.2", "")] == [
        200,
        429,
    ]


async def test_forged_addresses_share_one_limit_without_a_trusted_proxy(connect: Connect):
    client = connect(client_limit={"requests_per_second": 0.01, "burst": 2})

    answers = [
        await client.get("/v1/models", headers={"x-forwarded-for": f"192.0.2.{index}"}) for index in range(4)
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]


async def test_a_caller_that_another_layer_set_has_its_own_limit(connect: Connect, models: FakeModels):
    app = app_with_caller(models, "key:clinic", requests_per_second=0.01, burst=1)
    client = connect(app)

    await client.get("/v1/models")
    _, _, message = error_of(await client.get("/v1/models"))
    app.caller = Caller(name="key:other", roles=frozenset(), limit=app.caller.limit)
    other = await client.get("/v1/models")
    app.caller = Caller(name="key:free", roles=frozenset(), limit=Limit())
    free = [await client.get("/v1/models") for _ in range(3)]

    example = EXAMPLES["rate_limited"].replace("5 requests", "0.01 requests")
    expected = example.replace("at most 10", "at most 1").replace("in 1 s", "in 100 s")
    assert re.sub(r"in (?:100|9\d) s", "in 100 s", message) == expected
    assert other.status_code == 200
    assert [(answer.status_code, "ratelimit-limit" in answer.headers) for answer in free] == [
        (200, False)
    ] * 3


async def test_photos_of_every_route_count(connect: Connect, models: FakeModels):
    client = connect(app_with_caller(models, "key:clinic", photos_per_day=20))

    async def left() -> int:
        rejected = await client.post("/v1/lesion/batch", files=uploads(*[picture()] * 30))
        return int(rejected.headers["ratelimit-remaining"])

    assert await left() == 20
    assert (await client.post("/v1/lesion", content=picture())).status_code == 200
    assert (await client.post("/v1/lesion/batch", files=uploads(*[picture()] * 4))).status_code == 200
    assert (await client.post("/v1/progress", files=uploads(*[picture()] * 3))).status_code == 200
    frame = [[[0, 0, 0]] * 100] * 100
    assert (await client.post("/predict", json={"img": [frame] * 2})).status_code in (200, 422)
    assert await left() == 20 - 1 - 4 - 3 - 2


async def test_the_message_of_a_used_quota_states_its_reset(connect: Connect, models: FakeModels):
    client = connect(app_with_caller(models, "key:a", photos_per_day=2, time_zone="Europe/Berlin"))
    for _ in range(2):
        assert (await client.post("/v1/lesion", content=picture())).status_code == 200

    rejected = await client.post("/v1/lesion", content=picture())

    _, code, message = error_of(rejected)
    assert code == "rate_limited"
    assert message.startswith(
        "2 photos per day are allowed with the key a, all were used; the next day begins"
    )
    assert "T00:00:00+0" in message and message.endswith("(Europe/Berlin)")
    assert rejected.headers["ratelimit-limit"] == "2" and rejected.headers["ratelimit-remaining"] == "0"
    assert 0 < int(rejected.headers["retry-after"]) <= 25 * 3600
    assert (await client.get("/v1/models")).status_code == 200, "a request without photos"


async def test_too_many_photos_for_the_rest_of_the_day_are_rejected_together(
    connect: Connect, models: FakeModels
):
    client = connect(app_with_caller(models, "key:a", photos_per_day=5))

    rejected = await client.post("/v1/progress", files=uploads(*[picture()] * 6))
    accepted = await client.post("/v1/progress", files=uploads(*[picture()] * 5))

    _, _, message = error_of(rejected)
    assert "5 of them are left, the request has 6" in message
    assert accepted.status_code == 200


async def test_photos_of_a_failed_request_are_not_counted(connect: Connect, models: FakeModels):
    client = connect(app_with_caller(models, "key:a", photos_per_day=2))
    models.failures = [RuntimeError("the engine failed")]

    failed = await client.post("/v1/progress", files=uploads(picture(), picture()))
    accepted = await client.post("/v1/progress", files=uploads(picture(), picture()))
    rejected = await client.post("/v1/progress", files=uploads(photo_without_face(), photo_without_face()))

    assert [one.status_code for one in (failed, accepted, rejected)] == [500, 200, 429]


@pytest.mark.parametrize(
    ("settings", "limits", "expected"),
    [
        ({}, [], []),
        ({"client_limit": {"requests_per_second": 1}}, [], ["all of them together share"]),
        ({"client_limit": {"photos_per_day": 1}, "quota_folder": "/a"}, [], ["all of them together share"]),
        (
            {"client_limit": {"photos_per_day": 1}, "trusted_proxy": {"name": "nginx", "secret_file": "/a"}},
            [],
            ["each address that the proxy nginx sends", "start at 0 after a restart"],
        ),
        ({"keys_file": "keys.yaml"}, [Limit(requests_per_second=1)], []),
        ({"keys_file": "keys.yaml"}, [Limit(), Limit(photos_per_day=1)], ["start at 0 after a restart"]),
        ({"keys_file": "keys.yaml", "client_limit": {}}, [], ["client_limit is ignored"]),
        ({"feedback": "/a"}, [], ["all of them together can store 200 MB of feedback"]),
        ({"feedback": "/a", "feedback_max_mb_per_address": None}, [], []),
        ({"feedback": "/a", "keys_file": "keys.yaml"}, [], []),
    ],
)
def test_the_start_states_which_limits_apply(
    settings: dict[str, Any], limits: list[Limit], expected: list[str]
):
    notices = limit_notices(GatewayConfig.model_validate(settings), limits)

    assert len(notices) == len(expected)
    assert all(part in notice for part, notice in zip(expected, notices, strict=True))


@pytest.mark.parametrize(
    ("scope", "name"),
    [
        ({"client": ("192.0.2.7", 1)}, "anonymous"),
        ({"client": ("127.0.0.1", 1), "skinserve.client_address": None}, "anonymous"),
        ({"skinserve.client_address": "192.0.2.7"}, "address:192.0.2.7"),
        ({"skinserve.client_address": "2001:db8::7"}, "address:2001:db8::/64"),
    ],
)
def test_the_name_of_a_client(scope: Scope, name: str):
    assert client_name(scope) == name
