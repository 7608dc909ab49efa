"""Load over HTTP/1.1 from one process: at a fixed rate of arrivals, or by clients that wait for answers.

It shares the machine with what it measures, so it is as cheap as Python gets: requests are bytes made once,
answers are read by a parser in C and only their status is kept. Run it under ``uvloop.run``.
"""

import asyncio
import itertools
import math
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import httptools


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One request that is sent over and over."""

    name: str
    path: str
    body: bytes
    """Empty: a GET; else a POST."""
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came back."""

    latencies_s: dict[int, list[float]]
    """By HTTP status, each from its planned arrival to the end of its answer."""
    errors: Counter[str]
    """Requests without an answer, by the name of the exception; ``TimeoutError`` is ours."""
    seconds: float
    """From the first planned arrival to the last answer or error."""
    cpu_s: float
    """CPU time of the process that sent the load."""

    def p(self, status: int, q: float) -> float:
        """Return the seconds within which a share ``q`` of the answers with ``status`` came; NaN if none."""
        ordered = sorted(self.latencies_s.get(status, ()))
        return ordered[max(0, math.ceil(q * len(ordered)) - 1)] if ordered else math.nan

    def rate(self, status: int) -> float:
        """Return the answers with ``status`` per second."""
        return len(self.latencies_s.get(status, ())) / self.seconds if self.seconds else 0.0


async def open_loop(
    url: str,
    shots: Sequence[Shot],
    *,
    rate_per_s: float,
    seconds: float,
    timeout_s: float,
    max_connections: int = 1000,
) -> Outcome:
    """Send the shots in turn at evenly spaced times, whether or not earlier ones have been answered.

    A request for which none of ``max_connections`` is free waits for one, and its wait counts: the server's
    slowness delays no arrival and hides in no latency.
    """
    load = _Load(url, shots, timeout_s)
    places = asyncio.Semaphore(max_connections)
    loop = asyncio.get_running_loop()

    async def arrive(request: bytes, planned: float) -> None:
        await load.send(request, planned, places)

    async with asyncio.TaskGroup() as waiting:
        for number in range(math.ceil(rate_per_s * seconds)):
            planned = load.began + number / rate_per_s
            if planned > loop.time():
                await asyncio.sleep(planned - loop.time())
            elif number % 64 == 0:
                await asyncio.sleep(0)  # behind the plan: catch up, but let answers in
            waiting.create_task(arrive(load.next_request(), planned))
    return load.outcome()


async def closed_loop(
    url: str, shots: Sequence[Shot], *, clients: int, seconds: float, timeout_s: float
) -> Outcome:
    """Let ``clients`` send the shots in turn, each its next request after the answer to its last.

    After ``seconds`` nobody sends any more; what is under way is waited for and counts.
    """
    load = _Load(url, shots, timeout_s)
    places = asyncio.Semaphore(clients)
    loop = asyncio.get_running_loop()

    async def client() -> None:
        while (now := loop.time()) < load.began + seconds:
            await load.send(load.next_request(), now, places)

    async with asyncio.TaskGroup() as sending:
        for _ in range(clients):
            sending.create_task(client())
    return load.outcome()


class _Load:
    """The connections to one server, and what came back through them."""

    def __init__(self, url: str, shots: Sequence[Shot], timeout_s: float) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname or "", parts.port or 80
        self._requests = itertools.cycle([_request(shot, parts.netloc) for shot in shots])
        self._timeout_s = timeout_s
        self._idle: list[_Connection] = []
        self._latencies_s: defaultdict[int, list[float]] = defaultdict(list)
        self._errors: Counter[str] = Counter()
        self._loop = asyncio.get_running_loop()
        self._cpu_s = time.process_time()
        self.began = self._loop.time()
        self._last_event = self.began

    def next_request(self) -> bytes:
        return next(self._requests)

    async def send(self, request: bytes, planned: float, places: asyncio.Semaphore) -> None:
        """Send one request when a connection is free, and note what becomes of it."""
        try:
            async with asyncio.timeout_at(planned + self._timeout_s), places:
                status = await self._ask(request)
        except (OSError, httptools.HttpParserError) as error:  # TimeoutError is an OSError
            self._errors[type(error).__name__] += 1
            self._last_event = self._loop.time()
            return
        self._last_event = self._loop.time()
        self._latencies_s[status].append(self._last_event - planned)

    async def _ask(self, request: bytes) -> int:
        while self._idle and not self._idle[-1].open:
            self._idle.pop()
        if self._idle:
            connection = self._idle.pop()
        else:
            _, connection = await self._loop.create_connection(_Connection, *self._address)
        try:
            status = await connection.ask(request)
        except BaseException:
            connection.close()
            raise
        if connection.open:
            self._idle.append(connection)
        return status

    def outcome(self) -> Outcome:
        for connection in self._idle:
            connection.close()
        return Outcome(
            latencies_s=dict(self._latencies_s),
            errors=self._errors,
            seconds=self._last_event - self.began,
            cpu_s=time.process_time() - self._cpu_s,
        )


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._answer: asyncio.Future[int] | None = None
        self.open = True

    def ask(self, request: bytes) -> "asyncio.Future[int]":
        """Return the future status of the answer."""
        self._parser = httptools.HttpResponseParser(self)
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def close(self) -> None:
        self.open = False
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(error)

    def on_message_complete(self) -> None:
        """Answer; the parser calls this. An answer that came before the body had left ends the connection."""
        if not self._parser.should_keep_alive() or self._transport.get_write_buffer_size():
            self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(self._parser.get_status_code())

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionResetError("closed before the answer was complete"))

    def _fail(self, error: Exception) -> None:
        self.open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


def _request(shot: Shot, host: str) -> bytes:
    lines = [f"{'POST' if shot.body else 'GET'} {shot.path} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in shot.headers.items()]
    if shot.body:
        lines += [f"Content-Type: {shot.content_type}", f"Content-Length: {len(shot.body)}"]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + shot.body
