import asyncio
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import httpx
import pytest

from models.lesion.preparation import prepare_lesion
from serve.config import GatewayConfig
from serve.gateway import Gateway
from serve.lesion.config import LesionConfig
from serve.runtime.admission import publish_checks, serve_middlewares
from serve.runtime.errors import ApiError, QueueFullError, overloaded
from tests.serve.fakes import FakeModels, fake_app, picture, services, uploads

JPEG = {"content-type": "image/jpeg"}


def client_of(models: FakeModels, **sections: dict[str, Any]) -> httpx.AsyncClient:
    app = fake_app(models, **sections)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server")


async def post(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    return await client.post("/v1/lesion", content=picture(), headers=JPEG | headers)


def code_of(answer: httpx.Response) -> str:
    return answer.json()["error"]["code"]


async def test_requests_over_the_limit_are_rejected_at_once_until_one_ends():
    models = FakeModels(delay_s=1)
    client = client_of(models, gateway={"max_requests": 2, "retry_after_s": 7})

    answers = await asyncio.gather(*(post(client) for _ in range(5)))
    after = await post(client)

    assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503, 503]
    rejected = next(answer for answer in answers if answer.status_code == 503)
    assert (code_of(rejected), rejected.headers["retry-after"]) == ("overloaded", "7")
    assert rejected.elapsed.total_seconds() < 0.9
    assert after.status_code == 200


async def test_get_requests_are_answered_at_the_limit():
    models = FakeModels(delay_s=0.5)
    client = client_of(models, gateway={"max_requests": 1})

    working = asyncio.create_task(post(client))
    while models.num_calls == 0:
        await asyncio.sleep(0.01)

    assert (await client.get("/healthz")).status_code == 200
    assert (await working).status_code == 200


async def test_series_have_their_own_limit():
    client = client_of(FakeModels(delay_s=1), progress={"max_photos_per_gateway": 2})

    answers = await asyncio.gather(
        *(client.post("/v1/progress", files=uploads(picture(), picture())) for _ in range(2)), post(client)
    )

    assert sorted(answer.status_code for answer in answers) == [200, 200, 503]


async def test_lesion_photos_count_against_their_limit_only_after_the_body():
    models = FakeModels(delay_s=1)
    client = client_of(models, lesion={"max_photos_per_gateway": 2})

    async def slow_body() -> AsyncIterator[bytes]:
        yield picture()[:100]
        await asyncio.sleep(0.5)
        yield picture()[100:]

    slow = [
        asyncio.create_task(client.post("/v1/lesion", content=slow_body(), headers=JPEG)) for _ in range(2)
    ]
    await asyncio.sleep(0.1)
    fast = await asyncio.gather(*(post(client) for _ in range(4)))
    late = await asyncio.gather(*slow)

    assert sorted(answer.status_code for answer in fast) == [200, 200, 503, 503]
    assert [answer.status_code for answer in late] == [
        503,
        503,
    ]  # bodies came too late


async def test_a_rejected_request_has_no_body_read():
    models = FakeModels(delay_s=1)
    client = client_of(
        models,
        lesion={"max_photos_per_gateway": 1, "max_batch_requests": 1},
        progress={"max_photos_per_gateway": 1},
    )
    read: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        read.append(b"")
        yield picture()

    working = [
        asyncio.create_task(post(client)),
        asyncio.create_task(client.post("/v1/lesion/batch", files=uploads(picture()))),
        asyncio.create_task(client.post("/v1/progress", files=uploads(picture(), picture()))),
    ]
    while models.num_calls < 4:
        await asyncio.sleep(0.01)
    form = {"content-type": "multipart/form-data; boundary=x"}
    rejected = [
        await client.post(path, content=body(), headers=kind)
        for path, kind in (("/v1/lesion", JPEG), ("/v1/lesion/batch", form), ("/v1/progress", form))
    ]

    assert [(answer.status_code, code_of(answer)) for answer in rejected] == [(503, "overloaded")] * 3
    assert read == []
    assert [answer.status_code for answer in await asyncio.gather(*working)] == [200] * 3


async def test_photos_of_batches_are_queued_and_none_is_rejected():
    models = FakeModels(delay_s=0.05)
    client = client_of(models, lesion={"batch_concurrency": 2, "max_photos_per_gateway": 1})

    answers = await asyncio.gather(
        *(client.post("/v1/lesion/batch", files=uploads(*[picture()] * 6)) for _ in range(2))
    )

    lines = [json.loads(line) for answer in answers for line in answer.text.splitlines()]
    assert ["result" in line for line in lines] == [True] * 12
    assert models.most_at_once == 2


async def test_a_photo_of_a_batch_is_decoded_once_and_retried_while_the_model_is_overloaded(
    monkeypatch: pytest.MonkeyPatch,
):
    models = FakeModels(failures=[QueueFullError(1), overloaded("being restarted", 1)])
    decoded = Mock(wraps=prepare_lesion)
    monkeypatch.setattr("serve.lesion.gateway_model.prepare_lesion", decoded)
    client = client_of(models)

    answer = await client.post("/v1/lesion/batch", files=uploads(picture()))

    assert "result" in json.loads(answer.text)
    assert (models.num_calls, decoded.call_count) == (3, 1)


async def test_the_gateway_lowers_its_limit_after_a_rejection_by_the_model():
    models = FakeModels(failures=[QueueFullError(1)])
    client = client_of(models, lesion={"max_photos_per_gateway": 4})

    rejected = await post(client)
    models.delay_s = 1
    after = await asyncio.gather(*(post(client) for _ in range(4)))

    assert rejected.status_code == 503
    assert sorted(answer.status_code for answer in after) == [200, 200, 200, 503]


async def test_bodies_in_memory_have_a_common_limit_and_release_it():
    client = client_of(FakeModels(delay_s=1), gateway={"max_bytes_in_flight": len(picture()) + 10})

    answers = await asyncio.gather(post(client), post(client))
    after = await post(client)

    assert sorted(answer.status_code for answer in answers) == [200, 503]
    assert after.status_code == 200


async def test_a_disconnect_during_the_body_is_not_logged_as_an_error(caplog: pytest.LogCaptureFixture):
    app = fake_app(FakeModels(), gateway={"max_requests": 1})
    sent: list[object] = []
    scope = {"type": "http", "method": "POST", "path": "/v1/lesion", "query_string": b"", "headers": []}

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        sent.append(message)

    for _ in range(3):  # each releases the only slot
        await app(dict(scope), receive, send)  # pyright: ignore[reportArgumentType]

    assert sent == []
    assert caplog.text == ""


async def test_a_disconnect_releases_the_slot_and_cancels_the_work():
    models = FakeModels(delay_s=30)
    client = client_of(models, gateway={"max_requests": 1})

    gone = asyncio.create_task(post(client))
    while models.num_calls == 0:
        await asyncio.sleep(0.01)
    gone.cancel()
    await asyncio.wait([gone])
    async with asyncio.timeout(10):
        while models.num_cancelled == 0:
            await asyncio.sleep(0.01)
    models.delay_s = 0

    assert (await post(client)).status_code == 200


# --- load shedding ---


@pytest.fixture
def process_checks():
    yield
    publish_checks({})


@pytest.mark.usefixtures("process_checks")
async def test_load_shedding_rejects_posts_over_a_limit_and_passes_other_requests():
    passed: list[str] = []

    async def app(scope, receive, send):
        passed.append(f"{scope['method']} {scope['path']}")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def full() -> None:
        raise overloaded("16 photos are in progress", 2)

    layers: Any = app
    for middleware in serve_middlewares():  # as Serve does, before the gateway publishes its checks
        layers = middleware.cls(layers, *middleware.args, **middleware.kwargs)
    publish_checks({"/v1/lesion": full, "/v1/progress": lambda: None})
    client = httpx.AsyncClient(transport=httpx.ASGITransport(layers), base_url="http://server")
    rejected = await client.post("/v1/lesion", content=picture(), headers={"x-request-id": "abc"})
    others = [await client.post("/v1/progress"), await client.get("/v1/lesion"), await client.post("/")]

    assert (rejected.status_code, code_of(rejected)) == (503, "overloaded")
    assert (rejected.headers["retry-after"], rejected.headers["x-request-id"]) == ("2", "abc")
    assert [answer.status_code for answer in others] == [200] * 3
    assert passed == ["POST /v1/progress", "GET /v1/lesion", "POST /"]


@pytest.mark.usefixtures("process_checks")
async def test_a_gateway_publishes_its_checks_to_the_middleware_of_its_process():
    replica = SimpleNamespace(
        _config=GatewayConfig(),
        _services=services(LesionConfig(max_photos_per_gateway=1)),
        _replicas=FakeModels().replicas,
        _leases=None,
        _exchange=None,
        _jobs=None,
        set_grpc_app=lambda app, **_: None,
    )
    gateway: Any = Gateway
    app = gateway.func_or_class.__serve_build_asgi_app__(replica)
    checks: Any = serve_middlewares()[0].kwargs["checks"]

    checks["/v1/lesion"]()
    with (
        app.state.services["lesion"].photo_limiter.acquire(),
        pytest.raises(ApiError, match=r"^1 .* in progress"),
    ):
        checks["/v1/lesion"]()


async def test_requests_under_a_route_prefix_are_rejected_before_the_body_too():
    app = fake_app(FakeModels(), lesion={"max_photos_per_gateway": 1})
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(app, root_path="/skin"), base_url="http://server"
    )

    with app.state.services["lesion"].photo_limiter.acquire():
        answer = await client.post("/skin/v1/lesion", content=b"", headers={"content-type": "text/html"})

    assert code_of(answer) == "overloaded"
