import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from bench.load import Outcome, Shot, closed_loop, open_loop

Answer = Callable[[bytes], Awaitable[bytes]]
Start = Callable[[Answer], Awaitable[str]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start servers that answer one request after the other on each connection; empty answers hang up."""
    servers: list[asyncio.Server] = []

    async def start_one(answer: Answer) -> str:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while head := await _head(reader):
                    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                    body = await reader.readexactly(int(length or 0))
                    said = await answer(head + body)
                    writer.write(said)
                    if not said:
                        break
            except ConnectionError:
                pass
            finally:
                writer.close()

        servers.append(await asyncio.start_server(talk, "127.0.0.1", 0))
        return f"http://127.0.0.1:{servers[-1].sockets[0].getsockname()[1]}"

    yield start_one
    for server in servers:
        server.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


def _shot(name: str = "one", body: bytes = b"photo") -> Shot:
    return Shot(name=name, path=f"/{name}", body=body, content_type="image/jpeg", headers={"x-a": "b"})


async def test_sends_the_shots_in_turn_with_their_headers(start: Start) -> None:
    seen: list[bytes] = []

    async def answer(request: bytes) -> bytes:
        seen.append(request)
        return OK

    url = await start(answer)
    shots = [_shot("first"), _shot("second", b"")]

    await open_loop(url, shots, rate_per_s=100, seconds=0.04, timeout_s=5)

    assert sum(one.startswith(b"POST /first HTTP/1.1\r\n") for one in seen) == 2
    assert sum(one.startswith(b"GET /second HTTP/1.1\r\n") for one in seen) == 2
    posted = next(one for one in seen if one.startswith(b"POST"))
    assert b"\r\nx-a: b\r\n" in posted and b"\r\nContent-Type: image/jpeg\r\n" in posted
    assert posted.endswith(b"\r\n\r\nphoto")


async def test_closed_loop_never_has_more_requests_under_way_than_clients(start: Start) -> None:
    under_way = most = 0

    async def answer(_: bytes) -> bytes:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        return OK

    outcome = await closed_loop(await start(answer), [_shot()], clients=3, seconds=0.2, timeout_s=5)

    assert most == 3
    assert not outcome.errors
    assert min(outcome.latencies_s[200]) >= 0.01
    assert outcome.rate(200) == pytest.approx(len(outcome.latencies_s[200]) / outcome.seconds)


async def test_open_loop_counts_the_wait_for_a_slow_server_from_the_planned_arrival(start: Start) -> None:
    busy = asyncio.Lock()

    async def answer(_: bytes) -> bytes:
        async with busy:
            await asyncio.sleep(0.02)
        return OK

    outcome = await open_loop(await start(answer), [_shot()], rate_per_s=200, seconds=0.1, timeout_s=5)

    # 20 requests, one every 5 ms, 20 ms each one after the other: the last waits for 20 * 20 - 19 * 5 ms
    assert len(outcome.latencies_s[200]) == 20
    assert outcome.p(200, 1) >= 0.3


async def test_open_loop_counts_the_wait_for_a_free_connection(start: Start) -> None:
    async def answer(_: bytes) -> bytes:
        await asyncio.sleep(0.02)
        return OK

    outcome = await open_loop(
        await start(answer), [_shot()], rate_per_s=1000, seconds=0.01, timeout_s=5, max_connections=1
    )

    assert len(outcome.latencies_s[200]) == 10
    assert outcome.p(200, 1) >= 0.19


async def test_counts_statuses_apart(start: Start) -> None:
    answers = iter([OK, b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"] * 5)

    async def answer(_: bytes) -> bytes:
        return next(answers)

    outcome = await open_loop(await start(answer), [_shot()], rate_per_s=1000, seconds=0.01, timeout_s=5)

    assert {status: len(times) for status, times in outcome.latencies_s.items()} == {200: 5, 503: 5}


async def test_counts_a_hang_up_and_goes_on(start: Start) -> None:
    answers = iter([OK, b"", OK, OK])

    async def answer(_: bytes) -> bytes:
        return next(answers)

    url = await start(answer)

    outcome = await open_loop(url, [_shot()], rate_per_s=20, seconds=0.2, timeout_s=5)

    assert outcome.errors == Counter(ConnectionResetError=1)
    assert len(outcome.latencies_s[200]) == 3


async def test_counts_a_server_that_is_not_there() -> None:
    outcome = await open_loop("http://127.0.0.1:1", [_shot()], rate_per_s=100, seconds=0.02, timeout_s=5)

    assert outcome.errors == Counter(ConnectionRefusedError=2)
    assert math.isnan(outcome.p(200, 0.5)) and outcome.rate(200) == 0


async def test_gives_up_after_the_timeout(start: Start) -> None:
    async def answer(_: bytes) -> bytes:
        await asyncio.sleep(0.5)
        return OK

    outcome = await open_loop(await start(answer), [_shot()], rate_per_s=100, seconds=0.02, timeout_s=0.05)

    assert outcome.errors == Counter(TimeoutError=2)


async def test_counts_an_answer_that_is_no_http(start: Start) -> None:
    async def answer(_: bytes) -> bytes:
        return b"SSH-2.0\r\n\r\n"

    outcome = await open_loop(await start(answer), [_shot()], rate_per_s=100, seconds=0.01, timeout_s=5)

    assert sum(outcome.errors.values()) == 1


async def test_reads_an_answer_in_chunks_and_one_that_ends_its_connection(start: Start) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    answers = iter([chunked, b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", OK])

    async def answer(_: bytes) -> bytes:
        return next(answers)

    outcome = await open_loop(await start(answer), [_shot()], rate_per_s=100, seconds=0.03, timeout_s=5)

    assert len(outcome.latencies_s[200]) == 3 and not outcome.errors


def test_percentiles_are_latencies_that_were_measured() -> None:
    outcome = Outcome(
        latencies_s={200: [float(n) for n in range(100, 0, -1)]}, errors=Counter(), seconds=10, cpu_s=1
    )

    assert (outcome.p(200, 0.5), outcome.p(200, 0.95), outcome.p(200, 1)) == (50, 95, 100)
    assert outcome.rate(200) == 10
