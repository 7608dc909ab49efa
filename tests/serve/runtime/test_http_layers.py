import asyncio
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse

from serve.runtime.admission import publish_checks, serve_middlewares
from serve.runtime.errors import overloaded
from serve.runtime.http_layers import DrainMiddleware
from tests.serve.fakes import FakeModels, fake_app, picture, uploads

ORIGIN = "https://clinic.example"
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type, x-request-timeout-seconds",
}


def client_of(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server")


# --- HEAD ---


@pytest.mark.parametrize(
    "path",
    ["/healthz", "/readyz", "/", "/v1/models", "/docs", "/openapi.json", "/favicon.ico", "/robots.txt"],
)
async def test_head_is_answered_as_get_without_body(path: str):
    client = client_of(fake_app(FakeModels()))

    get, head = await client.get(path), await client.head(path)

    assert head.status_code == get.status_code < 400
    assert head.content == b""
    assert {**head.headers, "x-request-id": ""} == {**get.headers, "x-request-id": ""}


async def test_head_of_a_post_route_and_other_methods_are_not_allowed():
    client = client_of(fake_app(FakeModels()))

    for method, path, allowed in [
        ("HEAD", "/v1/lesion", "POST"),
        ("GET", "/v1/lesion", "POST"),
        ("POST", "/healthz", "GET, HEAD"),
        ("DELETE", "/v1/models", "GET, HEAD"),
        ("OPTIONS", "/v1/lesion", "POST"),
    ]:
        answer = await client.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        assert bool(answer.content) == (method != "HEAD")


# --- other origins ---


def is_readable(answer: httpx.Response) -> bool:
    """Whether a page of ``ORIGIN`` may read the response and its headers."""
    exposed = answer.headers.get("access-control-expose-headers")
    return (answer.headers.get("access-control-allow-origin"), exposed) == (
        ORIGIN,
        "X-Request-ID, Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset",
    )


async def test_other_origins_are_not_allowed_by_default():
    client = client_of(fake_app(FakeModels()))

    answer = await client.post("/v1/lesion", content=picture(), headers={"origin": ORIGIN})
    preflight = await client.options("/v1/lesion", headers=PREFLIGHT)

    assert (answer.status_code, preflight.status_code) == (200, 405)
    assert not any("access-control" in name for name in (*answer.headers, *preflight.headers))


async def test_pages_of_allowed_origins_may_read_responses_and_errors():
    client = client_of(
        fake_app(FakeModels(), gateway={"allowed_origins": [ORIGIN], "max_bytes_in_flight": 1000})
    )
    answers = {
        answer.status_code: answer
        for answer in [
            await client.post("/v1/lesion", content=picture(), headers={"origin": ORIGIN}),
            await client.post("/v1/lesion", content=bytes(30_000_000), headers={"origin": ORIGIN}),
            await client.post("/v1/lesion", content=bytes(2000), headers={"origin": ORIGIN}),
            await client.get("/nothing", headers={"origin": ORIGIN}),
        ]
    }
    other = await client.get("/healthz", headers={"origin": "https://other.example"})

    assert set(answers) == {200, 413, 503, 404}
    assert all(is_readable(answer) for answer in answers.values())
    assert (other.status_code, is_readable(other)) == (200, False)


async def test_preflight_requests_are_answered():
    client = client_of(fake_app(FakeModels(), gateway={"allowed_origins": [ORIGIN]}))

    allowed = await client.options("/v1/lesion", headers=PREFLIGHT)
    other = await client.options("/v1/lesion", headers={**PREFLIGHT, "Origin": "https://other.example"})

    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert "POST" in allowed.headers["access-control-allow-methods"]
    assert "x-request-timeout-seconds" in allowed.headers["access-control-allow-headers"].lower()
    assert allowed.headers["x-request-id"]
    assert (other.status_code, "access-control-allow-origin" in other.headers) == (400, False)


async def test_all_origins_can_be_allowed():
    client = client_of(fake_app(FakeModels(), gateway={"allowed_origins": ["*"]}))

    answer = await client.get("/healthz", headers={"origin": ORIGIN})

    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.fixture
def process_checks():
    yield
    publish_checks({})


@pytest.mark.usefixtures("process_checks")
async def test_requests_rejected_before_serves_http_layer_are_readable_too():
    def full() -> None:
        raise overloaded("16 photos are in progress", 2)

    layers: Any = PlainTextResponse("passed")
    for middleware in serve_middlewares():
        layers = middleware.cls(layers, *middleware.args, **middleware.kwargs)
    publish_checks({"/v1/lesion": full}, [ORIGIN])

    answer = await client_of(layers).post("/v1/lesion", content=b"x", headers={"origin": ORIGIN})

    assert (answer.status_code, is_readable(answer)) == (503, True)


# --- unread bodies ---


class Exchange:
    """A request whose body comes in chunks; ``messages`` are those of the response, by type and end."""

    def __init__(self, *chunks: bytes, stalls: bool = False, headers: tuple = ((b"content-length", b"9"),)):
        self.messages: list[tuple[Any, ...]] = []
        self.num_read = 0
        self.scope = {"type": "http", "method": "POST", "headers": list(headers)}
        self._chunks = list(chunks)
        self._stalls = stalls

    async def receive(self) -> dict[str, Any]:
        if not self._chunks and self._stalls:
            await asyncio.Event().wait()
        self.num_read += 1
        chunk = self._chunks.pop(0)
        return {
            "type": "http.request",
            "body": chunk,
            "more_body": bool(self._chunks) or self._stalls,
        }

    async def send(self, message: Any) -> None:
        if not self.messages:
            self.num_read_at_first_message = self.num_read
        self.messages.append((message.get("status"), message.get("body"), message.get("more_body", False)))


async def reject(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse("too large", status_code=413)(scope, receive, send)


async def test_a_rejection_is_sent_when_the_unread_body_has_arrived():
    exchange = Exchange(b"123", b"456", b"789")

    await DrainMiddleware(reject)(exchange.scope, exchange.receive, exchange.send)

    assert exchange.messages == [(413, None, False), (None, b"too large", False)]
    assert exchange.num_read == exchange.num_read_at_first_message == 3


async def test_other_responses_are_sent_at_once():
    async def read_all(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass
        await reject(scope, receive, send)

    for app, num_read in ((read_all, 2), (PlainTextResponse("accepted"), 0)):
        exchange = Exchange(b"123", b"456")

        await DrainMiddleware(app)(exchange.scope, exchange.receive, exchange.send)

        assert len(exchange.messages) == 2
        assert exchange.num_read == exchange.num_read_at_first_message == num_read


async def test_requests_without_a_body_are_passed_on():
    for headers in ((), ((b"content-length", b"0"),)):
        exchange = Exchange(headers=headers)

        await DrainMiddleware(reject)(exchange.scope, exchange.receive, exchange.send)

        assert (len(exchange.messages), exchange.num_read) == (2, 0)


@pytest.mark.parametrize("limit", ["MAX_DRAIN_S", "MAX_DRAIN_PAUSE_S"])
async def test_only_a_bounded_part_of_a_body_is_drained(monkeypatch: pytest.MonkeyPatch, limit: str):
    monkeypatch.setattr("serve.runtime.http_layers.MAX_DRAINED_BYTES", 6)
    monkeypatch.setattr(f"serve.runtime.http_layers.{limit}", 0.1)
    long, stalled = Exchange(b"123", b"456", b"789"), Exchange(b"123", stalls=True)

    for exchange in (long, stalled):
        await DrainMiddleware(reject)(exchange.scope, exchange.receive, exchange.send)

        assert len(exchange.messages) == 2
    assert (long.num_read, stalled.num_read) == (2, 1)


async def test_a_slot_is_free_while_a_body_is_drained():
    app = fake_app(FakeModels(), gateway={"max_requests": 1})
    head = ((b"content-length", b"30000000"), (b"content-type", b"text/plain"))
    stalled = Exchange(b"123", stalls=True, headers=head)
    scope = {**stalled.scope, "scheme": "http", "path": "/v1/lesion", "query_string": b""}

    draining = asyncio.create_task(DrainMiddleware(app)(scope, stalled.receive, stalled.send))
    async with asyncio.timeout(10):
        while stalled.num_read == 0 and not draining.done():
            await asyncio.sleep(0.01)
    other = await client_of(app).post("/v1/lesion", files=uploads(picture(), field_name="file"))
    assert stalled.messages == []
    await draining

    assert (stalled.messages[0][0], other.status_code) == (415, 200)
