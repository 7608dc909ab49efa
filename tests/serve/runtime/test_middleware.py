import asyncio
import json
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
from ray.serve._private.http_util import _apply_middlewares

from models.images import decode_square
from serve.config import GatewayConfig
from serve.gateway import Gateway, create_app
from serve.runtime.errors import ApiError, QueueFullError, overloaded
from serve.runtime.middleware import LoadSheddingMiddleware, RequestIdMiddleware, serve_middlewares
from tests.serve.fakes import LESION_PX, FakeStages, picture, uploads

JPEG = {"content-type": "image/jpeg"}


def client_of(stages: FakeStages, **settings: float) -> httpx.AsyncClient:
    app = create_app(GatewayConfig.model_validate(settings), stages, lesion_px=LESION_PX)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server")


async def ask(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    return await client.post("/v1/lesion", content=picture(), headers=JPEG | headers)


def code_of(answer: httpx.Response) -> str:
    return answer.json()["error"]["code"]


# --- request id ---


async def test_a_sane_request_id_comes_back_and_another_is_replaced():
    client = client_of(FakeStages())

    sane = await ask(client, **{"x-request-id": "case-7.b_2"})
    insane = await ask(client, **{"x-request-id": "a b\tc"})
    long = await ask(client, **{"x-request-id": "x" * 65})
    none = await client.get("/healthz")

    assert sane.headers.get_list("x-request-id") == ["case-7.b_2"]
    for answer in (insane, long, none):
        assert len(answer.headers["x-request-id"]) == 32


async def test_two_layers_of_front_leave_one_request_id_and_hide_serves_headers():
    seen: dict[str, str] = {}

    async def app(scope, receive, send):
        seen.update((name.decode(), value.decode()) for name, value in scope["headers"])
        headers = [(b"x-request-id", b"another")]  # as Serve's own layer adds one
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(RequestIdMiddleware(RequestIdMiddleware(app))), base_url="http://server"
    )
    hostile = {"x-request-timeout-seconds": "3", "x-request-disconnect-disabled": "?1", "x-request-id": "abc"}
    answer = await client.get("/", headers=hostile)

    assert answer.headers.get_list("x-request-id") == ["abc"]
    assert seen["x-skinserve-timeout-seconds"] == "3"
    assert not seen.keys() & {"x-request-timeout-seconds", "x-request-disconnect-disabled"}


# --- deadlines ---


async def test_a_request_that_takes_too_long_is_answered_at_its_deadline_and_its_work_called_off():
    stages = FakeStages(delay_s=30)
    client = client_of(stages)

    began = time.monotonic()
    answer = await ask(client, **{"x-request-timeout-seconds": "0.2"})

    assert (answer.status_code, code_of(answer)) == (504, "deadline_exceeded")
    assert "0.2 s" in answer.json()["error"]["message"]
    assert time.monotonic() - began < 10
    assert stages.num_cancelled == 1


async def test_the_default_deadline_holds_without_the_header():
    answer = await ask(client_of(FakeStages(delay_s=30), default_deadline_s=0.2))

    assert code_of(answer) == "deadline_exceeded"


async def test_a_body_that_does_not_come_ends_at_the_deadline():
    async def drip() -> AsyncIterator[bytes]:
        yield picture()[:100]
        await asyncio.sleep(30)

    client = client_of(FakeStages(), default_deadline_s=0.2)
    answer = await client.post("/v1/lesion", content=drip(), headers=JPEG)

    assert code_of(answer) == "deadline_exceeded"


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "601", "soon", ""])
async def test_a_bad_deadline_is_refused(value: str):
    answer = await ask(client_of(FakeStages()), **{"x-request-timeout-seconds": value})

    assert (answer.status_code, code_of(answer)) == (422, "invalid_request")
    assert "x-request-timeout-seconds" in answer.json()["error"]["message"]


async def test_a_batch_says_at_its_deadline_which_files_are_not_ready():
    client = client_of(FakeStages(delay_s=30), default_deadline_s=1.5)

    answer = await client.post("/v1/lesion/batch", files=uploads(picture(), b"<html>", picture()))

    lines = {line["index"]: line["error"]["code"] for line in map(json.loads, answer.text.splitlines())}
    assert lines == {0: "deadline_exceeded", 1: "unsupported_type", 2: "deadline_exceeded"}


# --- admission ---


async def test_requests_beyond_the_limit_are_refused_at_once_and_the_place_comes_back():
    stages = FakeStages(delay_s=1)
    client = client_of(stages, max_requests=2, retry_after_s=7)

    answers = await asyncio.gather(*(ask(client) for _ in range(5)))
    after = await ask(client)

    assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503, 503]
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert (code_of(refused), refused.headers["retry-after"]) == ("overloaded", "7")
    assert refused.elapsed.total_seconds() < 0.9
    assert after.status_code == 200


async def test_questions_about_the_server_are_answered_when_it_is_full():
    stages = FakeStages(delay_s=0.5)
    client = client_of(stages, max_requests=1)

    working = asyncio.create_task(ask(client))
    while stages.num_calls == 0:
        await asyncio.sleep(0.01)

    assert (await client.get("/healthz")).status_code == 200
    assert (await working).status_code == 200


async def test_series_have_a_limit_of_their_own():
    client = client_of(FakeStages(delay_s=1), max_faces=2)

    both = await asyncio.gather(
        *(client.post("/v1/progress", files=uploads(picture(), picture())) for _ in range(2)), ask(client)
    )

    assert sorted(answer.status_code for answer in both) == [200, 200, 503]


async def test_spots_have_a_limit_of_their_own_which_a_body_that_has_not_come_does_not_fill():
    stages = FakeStages(delay_s=1)
    client = client_of(stages, max_spots=2)

    async def slow_body() -> AsyncIterator[bytes]:
        yield picture()[:100]
        await asyncio.sleep(0.5)
        yield picture()[100:]

    slow = [
        asyncio.create_task(client.post("/v1/lesion", content=slow_body(), headers=JPEG)) for _ in range(2)
    ]
    await asyncio.sleep(0.1)
    quick = await asyncio.gather(*(ask(client) for _ in range(4)))
    late = await asyncio.gather(*slow)

    assert sorted(answer.status_code for answer in quick) == [200, 200, 503, 503]
    assert [answer.status_code for answer in late] == [503, 503]  # the places were gone when it came


async def test_a_refusal_reads_no_body():
    stages = FakeStages(delay_s=1)
    client = client_of(stages, max_spots=1, max_batch_requests=1, max_faces=1)
    read: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        read.append(b"")
        yield picture()

    working = [
        asyncio.create_task(ask(client)),
        asyncio.create_task(client.post("/v1/lesion/batch", files=uploads(picture()))),
        asyncio.create_task(client.post("/v1/progress", files=uploads(picture(), picture()))),
    ]
    while stages.num_calls < 4:
        await asyncio.sleep(0.01)
    form = {"content-type": "multipart/form-data; boundary=x"}
    refused = [
        await client.post(path, content=body(), headers=kind)
        for path, kind in (("/v1/lesion", JPEG), ("/v1/lesion/batch", form), ("/v1/progress", form))
    ]

    assert [(answer.status_code, code_of(answer)) for answer in refused] == [(503, "overloaded")] * 3
    assert read == []
    assert [answer.status_code for answer in await asyncio.gather(*working)] == [200] * 3


async def test_photos_of_batches_wait_for_each_other_and_none_is_refused():
    stages = FakeStages(delay_s=0.05)
    client = client_of(stages, batch_concurrency=2, max_spots=1)

    answers = await asyncio.gather(
        *(client.post("/v1/lesion/batch", files=uploads(*[picture()] * 6)) for _ in range(2))
    )

    lines = [json.loads(line) for answer in answers for line in answer.text.splitlines()]
    assert ["result" in line for line in lines] == [True] * 12
    assert stages.most_at_once == 2


async def test_a_photo_of_a_batch_is_decoded_once_and_asks_again_when_the_stage_is_full(
    monkeypatch: pytest.MonkeyPatch,
):
    stages = FakeStages(failures=[QueueFullError(1), overloaded("being restarted", 1)])
    client = client_of(stages)
    decoded = Mock(wraps=decode_square)
    monkeypatch.setattr("serve.answers.decode_square", decoded)

    answer = await client.post("/v1/lesion/batch", files=uploads(picture()))

    assert "result" in json.loads(answer.text)
    assert (stages.num_calls, decoded.call_count) == (3, 1)


async def test_the_gateway_takes_less_after_its_stage_refused():
    stages = FakeStages(failures=[QueueFullError(1)])
    client = client_of(stages, max_spots=4)

    refused = await ask(client)
    stages.delay_s = 1
    after = await asyncio.gather(*(ask(client) for _ in range(4)))

    assert refused.status_code == 503
    assert sorted(answer.status_code for answer in after) == [200, 200, 200, 503]


async def test_bodies_together_have_a_limit_and_give_their_room_back():
    client = client_of(FakeStages(delay_s=1), max_bytes_in_flight=len(picture()) + 10)

    answers = await asyncio.gather(ask(client), ask(client))
    after = await ask(client)

    assert sorted(answer.status_code for answer in answers) == [200, 503]
    assert after.status_code == 200


async def test_a_client_that_hangs_up_in_mid_body_is_no_failure_of_ours(caplog: pytest.LogCaptureFixture):
    app = create_app(GatewayConfig(max_requests=1), FakeStages(), lesion_px=LESION_PX)
    sent: list[object] = []
    scope = {"type": "http", "method": "POST", "path": "/v1/lesion", "query_string": b"", "headers": []}

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        sent.append(message)

    for _ in range(3):  # each time the one place is free again
        await app(dict(scope), receive, send)  # pyright: ignore[reportArgumentType]

    assert sent == []
    assert caplog.text == ""


async def test_a_client_that_hangs_up_frees_its_place_and_its_work_is_called_off():
    stages = FakeStages(delay_s=30)
    client = client_of(stages, max_requests=1)

    gone = asyncio.create_task(ask(client))
    while stages.num_calls == 0:
        await asyncio.sleep(0.01)
    gone.cancel()
    await asyncio.wait([gone])
    stages.delay_s = 0

    assert stages.num_cancelled == 1
    assert (await ask(client)).status_code == 200


# --- door ---


async def test_the_door_turns_away_who_would_find_no_place_and_nobody_else(monkeypatch: pytest.MonkeyPatch):
    passed: list[str] = []

    async def app(scope, receive, send):
        passed.append(f"{scope['method']} {scope['path']}")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def full() -> None:
        raise overloaded("the server has 16 photos of spots in work", 2)

    monkeypatch.setattr(LoadSheddingMiddleware, "checks", {"/v1/lesion": full, "/v1/progress": lambda: None})
    layers: list[Any] = serve_middlewares()
    around = _apply_middlewares(app, layers)  # as Serve does
    client = httpx.AsyncClient(transport=httpx.ASGITransport(around), base_url="http://server")
    refused = await client.post("/v1/lesion", content=picture(), headers={"x-request-id": "abc"})
    others = [await client.post("/v1/progress"), await client.get("/v1/lesion"), await client.post("/")]

    assert (refused.status_code, code_of(refused)) == (503, "overloaded")
    assert (refused.headers["retry-after"], refused.headers["x-request-id"]) == ("2", "abc")
    assert [answer.status_code for answer in others] == [200] * 3
    assert passed == ["POST /v1/progress", "GET /v1/lesion", "POST /"]


async def test_a_gateway_tells_the_door_of_its_process_what_is_full():
    replica = SimpleNamespace(_config=GatewayConfig(max_spots=1), _stages=FakeStages(), _lesion_px=LESION_PX)
    gateway: Any = Gateway
    try:
        app = gateway.func_or_class.__serve_build_asgi_app__(replica)
        LoadSheddingMiddleware.checks["/v1/lesion"]()
        with app.state.answers.spots.acquire(), pytest.raises(ApiError, match="1 photos of spots"):
            LoadSheddingMiddleware.checks["/v1/lesion"]()
    finally:
        LoadSheddingMiddleware.checks = {}


async def test_under_a_route_prefix_too_who_finds_no_place_is_refused_before_the_body():
    app = create_app(GatewayConfig(max_spots=1), FakeStages(), lesion_px=LESION_PX)
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(app, root_path="/skin"), base_url="http://server"
    )

    with app.state.answers.spots.acquire():
        answer = await client.post("/skin/v1/lesion", content=b"", headers={"content-type": "text/html"})

    assert code_of(answer) == "overloaded"
