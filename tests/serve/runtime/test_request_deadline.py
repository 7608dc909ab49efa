import asyncio
import json
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from serve.runtime.admission import RequestIdMiddleware
from tests.serve.fakes import FakeModels, fake_app, picture, uploads

JPEG = {"content-type": "image/jpeg"}


def client_of(models: FakeModels, **gateway: float) -> httpx.AsyncClient:
    app = fake_app(models, gateway=gateway)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server")


async def post(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    return await client.post("/v1/lesion", content=picture(), headers=JPEG | headers)


def code_of(answer: httpx.Response) -> str:
    return answer.json()["error"]["code"]


async def test_a_valid_request_id_is_returned_and_an_invalid_one_is_replaced():
    client = client_of(FakeModels())

    valid = await post(client, **{"x-request-id": "case-7.b_2"})
    invalid = await post(client, **{"x-request-id": "a b\tc"})
    long = await post(client, **{"x-request-id": "x" * 65})
    none = await client.get("/healthz")

    assert valid.headers.get_list("x-request-id") == ["case-7.b_2"]
    for answer in (invalid, long, none):
        assert len(answer.headers["x-request-id"]) == 32


async def test_two_request_id_layers_set_one_id_and_remove_headers_that_control_serve():
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
    hostile |= {"serve_multiplexed_model_id": "1", "Serve-Multiplexed_Model-Id": "2"}
    answer = await client.get("/", headers=hostile)

    assert answer.headers.get_list("x-request-id") == ["abc"]
    assert seen["x-skinserve-timeout-seconds"] == "3"
    assert not seen.keys() & {"x-request-timeout-seconds", "x-request-disconnect-disabled"}
    assert not [name for name in seen if "multiplexed" in name]


async def test_a_slow_request_is_answered_at_its_deadline_and_its_work_is_cancelled():
    models = FakeModels(delay_s=30)
    client = client_of(models)

    began = time.monotonic()
    answer = await post(client, **{"x-request-timeout-seconds": "0.2"})

    assert (answer.status_code, code_of(answer)) == (504, "deadline_exceeded")
    assert "0.2 s" in answer.json()["error"]["message"]
    assert time.monotonic() - began < 10
    async with asyncio.timeout(10):
        while models.num_cancelled == 0:
            await asyncio.sleep(0.01)


async def test_the_default_deadline_applies_without_the_header():
    answer = await post(client_of(FakeModels(delay_s=30), default_deadline_s=0.2))

    assert code_of(answer) == "deadline_exceeded"


async def test_a_stalled_body_ends_at_the_deadline():
    async def stalled() -> AsyncIterator[bytes]:
        yield picture()[:100]
        await asyncio.sleep(30)

    client = client_of(FakeModels(), default_deadline_s=0.2)
    answer = await client.post("/v1/lesion", content=stalled(), headers=JPEG)

    assert code_of(answer) == "deadline_exceeded"


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "601", "soon", ""])
async def test_an_invalid_deadline_is_rejected(value: str):
    answer = await post(client_of(FakeModels()), **{"x-request-timeout-seconds": value})

    assert (answer.status_code, code_of(answer)) == (422, "invalid_request")
    assert "x-request-timeout-seconds" in answer.json()["error"]["message"]


async def test_a_batch_reports_unfinished_files_at_its_deadline():
    client = client_of(FakeModels(delay_s=30), default_deadline_s=1.5)

    answer = await client.post("/v1/lesion/batch", files=uploads(picture(), b"<html>", picture()))

    lines = {line["index"]: line["error"]["code"] for line in map(json.loads, answer.text.splitlines())}
    assert lines == {0: "deadline_exceeded", 1: "unsupported_type", 2: "deadline_exceeded"}
