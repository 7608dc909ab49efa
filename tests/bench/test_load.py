import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from bench.http_client import RequestTemplate, Response
from bench.load import LoadGenerator, LoadResult

Respond = Callable[[bytes], Awaitable[bytes]]
Start = Callable[[Respond], Awaitable[str]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start servers that respond to one request at a time per connection; an empty response closes it."""
    servers: list[asyncio.Server] = []

    async def start_one(respond: Respond) -> str:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while head := await _head(reader):
                    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                    body = await reader.readexactly(int(length or 0))
                    response = await respond(head + body)
                    writer.write(response)
                    if not response:
                        break
            except ConnectionError:
                pass
            finally:
                writer.close()

        servers.append(await asyncio.start_server(serve, "127.0.0.1", 0))
        return f"http://127.0.0.1:{servers[-1].sockets[0].getsockname()[1]}"

    yield start_one
    for server in servers:
        server.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


def _template(name: str = "one", body: bytes = b"photo") -> RequestTemplate:
    return RequestTemplate(
        name=name, path=f"/{name}", body=body, content_type="image/jpeg", headers={"x-a": "b"}
    )


def _generator(url: str, timeout_s: float = 5) -> LoadGenerator:
    return LoadGenerator(url=url, templates=[_template()], timeout_s=timeout_s)


async def test_templates_are_sent_in_rotation_with_their_headers(start: Start) -> None:
    seen: list[bytes] = []

    async def respond(request: bytes) -> bytes:
        seen.append(request)
        return OK

    url = await start(respond)
    templates = [_template("first"), _template("second", b"")]

    await LoadGenerator(url=url, templates=templates, timeout_s=5).open_loop(rate_per_s=100, seconds=0.04)

    assert sum(one.startswith(b"POST /first HTTP/1.1\r\n") for one in seen) == 2
    assert sum(one.startswith(b"GET /second HTTP/1.1\r\n") for one in seen) == 2
    posted = next(one for one in seen if one.startswith(b"POST"))
    assert b"\r\nx-a: b\r\n" in posted and b"\r\nContent-Type: image/jpeg\r\n" in posted
    assert posted.endswith(b"\r\n\r\nphoto")


async def test_closed_loop_has_at_most_one_request_in_flight_per_client(start: Start) -> None:
    in_flight = highest = 0

    async def respond(_: bytes) -> bytes:
        nonlocal in_flight, highest
        in_flight += 1
        highest = max(highest, in_flight)
        await asyncio.sleep(0.01)
        in_flight -= 1
        return OK

    result = await _generator(await start(respond)).closed_loop(clients=3, seconds=0.2)

    assert highest == 3
    assert not result.errors
    assert min(result.latencies_s[200]) >= 0.01
    assert result.rate(200) == pytest.approx(len(result.latencies_s[200]) / result.seconds)


async def test_open_loop_latency_starts_at_the_planned_arrival(start: Start) -> None:
    busy = asyncio.Lock()

    async def respond(_: bytes) -> bytes:
        async with busy:
            await asyncio.sleep(0.02)
        return OK

    result = await _generator(await start(respond)).open_loop(rate_per_s=200, seconds=0.1)

    # 20 requests, one every 5 ms, 20 ms each one after the other: the last waits for 20 * 20 - 19 * 5 ms
    assert len(result.latencies_s[200]) == 20
    assert result.percentile(200, 1) >= 0.3


async def test_open_loop_latency_includes_the_wait_for_a_connection(start: Start) -> None:
    async def respond(_: bytes) -> bytes:
        await asyncio.sleep(0.02)
        return OK

    result = await _generator(await start(respond)).open_loop(
        rate_per_s=1000, seconds=0.01, max_connections=1
    )

    assert len(result.latencies_s[200]) == 10
    assert result.percentile(200, 1) >= 0.19


async def test_latencies_are_grouped_by_status(start: Start) -> None:
    responses = iter([OK, b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"] * 5)

    async def respond(_: bytes) -> bytes:
        return next(responses)

    result = await _generator(await start(respond)).open_loop(rate_per_s=1000, seconds=0.01)

    assert {status: len(times) for status, times in result.latencies_s.items()} == {200: 5, 503: 5}


async def test_a_closed_connection_counts_as_error(start: Start) -> None:
    responses = iter([OK, b"", OK, OK])

    async def respond(_: bytes) -> bytes:
        return next(responses)

    url = await start(respond)

    result = await _generator(url).open_loop(rate_per_s=20, seconds=0.2)

    assert result.errors == Counter(ConnectionResetError=1)
    assert len(result.latencies_s[200]) == 3


async def test_a_refused_connection_counts_as_error() -> None:
    result = await _generator("http://127.0.0.1:1").open_loop(rate_per_s=100, seconds=0.02)

    assert result.errors == Counter(ConnectionRefusedError=2)
    assert math.isnan(result.percentile(200, 0.5)) and result.rate(200) == 0


async def test_a_timeout_counts_as_error(start: Start) -> None:
    async def respond(_: bytes) -> bytes:
        await asyncio.sleep(0.5)
        return OK

    result = await _generator(await start(respond), timeout_s=0.05).open_loop(rate_per_s=100, seconds=0.02)

    assert result.errors == Counter(TimeoutError=2)


async def test_an_invalid_response_counts_as_error(start: Start) -> None:
    async def respond(_: bytes) -> bytes:
        return b"SSH-2.0\r\n\r\n"

    result = await _generator(await start(respond)).open_loop(rate_per_s=100, seconds=0.01)

    assert sum(result.errors.values()) == 1


async def test_chunked_and_closing_responses_are_read(start: Start) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    responses = iter([chunked, b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", OK])

    async def respond(_: bytes) -> bytes:
        return next(responses)

    result = await _generator(await start(respond)).open_loop(rate_per_s=100, seconds=0.03)

    assert len(result.latencies_s[200]) == 3 and not result.errors


async def test_the_callback_receives_template_status_headers_and_body(start: Start) -> None:
    head = b"HTTP/1.1 201 Created\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n"
    seen: list[tuple[str, Response]] = []

    async def respond(_: bytes) -> bytes:
        return head + b"2\r\nok\r\n3\r\nay!\r\n0\r\n\r\n"

    def on_response(template: RequestTemplate, response: Response, latency_s: float) -> None:
        assert latency_s > 0
        seen.append((template.name, response))

    generator = LoadGenerator(
        url=await start(respond), templates=[_template("first"), _template("second")], on_response=on_response
    )
    await generator.open_loop(rate_per_s=100, seconds=0.02)

    assert sorted(name for name, _ in seen) == ["first", "second"]
    for _, response in seen:
        assert (response.status, response.headers["x-a"], response.body) == (201, "b", b"okay!")


async def test_a_client_pauses_for_retry_after(start: Start) -> None:
    async def respond(_: bytes) -> bytes:
        return b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"

    generator = LoadGenerator(url=await start(respond), templates=[_template()], on_response=lambda *_: None)
    result = await generator.closed_loop(clients=2, seconds=0.2, honor_retry_after=True)

    assert len(result.latencies_s[503]) == 2


def test_percentiles_are_measured_latencies() -> None:
    result = LoadResult(
        latencies_s={200: [float(n) for n in range(100, 0, -1)]}, errors=Counter(), seconds=10, cpu_s=1
    )

    assert (result.percentile(200, 0.5), result.percentile(200, 0.95), result.percentile(200, 1)) == (
        50,
        95,
        100,
    )
    assert result.rate(200) == 10
