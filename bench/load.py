"""Load generator over HTTP/1.1 in one process, with an open or a closed loop; run it under ``uvloop.run``."""

import asyncio
import itertools
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import httptools

from bench.http_client import Connection, RecordingConnection, RequestTemplate, Response

OnResponse = Callable[[RequestTemplate, Response, float], None]
"""Called with each response and its latency in seconds."""


@dataclass(frozen=True, kw_only=True)
class LoadResult:
    """Latencies and errors of one load."""

    latencies_s: dict[int, list[float]]
    """By HTTP status, each from its planned arrival to the end of the response."""
    errors: Counter[str]
    """Requests without a response, by name of the exception; ``TimeoutError`` is the generator's own."""
    seconds: float
    """From the first planned arrival to the last response or error."""
    cpu_s: float
    """CPU time of the load generator."""

    def percentile(self, status: int, q: float) -> float:
        """Return the latency in seconds at quantile ``q`` of one status; NaN without responses."""
        ordered = sorted(self.latencies_s.get(status, ()))
        return ordered[max(0, math.ceil(q * len(ordered)) - 1)] if ordered else math.nan

    def rate(self, status: int) -> float:
        """Return the responses per second with one status."""
        return len(self.latencies_s.get(status, ())) / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, kw_only=True)
class LoadGenerator:
    """Send request templates in rotation to one server."""

    url: str
    templates: Sequence[RequestTemplate]
    timeout_s: float = 60.0
    on_response: OnResponse | None = None
    """Without it, headers and bodies of responses are not kept."""

    async def open_loop(
        self, *, rate_per_s: float, seconds: float, max_connections: int = 1000
    ) -> LoadResult:
        """Send requests at evenly spaced times, independent of responses.

        A request waits if none of ``max_connections`` is free. The wait counts as latency, so a slow server
        delays no arrival and hides no latency.
        """
        run = _Run(self)
        connections = asyncio.Semaphore(max_connections)
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as in_flight:
            for number in range(math.ceil(rate_per_s * seconds)):
                planned = run.began + number / rate_per_s
                if planned > loop.time():
                    await asyncio.sleep(planned - loop.time())
                elif number % 64 == 0:
                    await asyncio.sleep(0)  # behind the plan: catch up, but read responses
                in_flight.create_task(run.send(run.next_request(), planned, connections))
        return run.result()

    async def closed_loop(
        self, *, clients: int, seconds: float, honor_retry_after: bool = False
    ) -> LoadResult:
        """Send requests from ``clients``, each its next request after the last response.

        No request starts after ``seconds``; requests in flight complete and count.

        Args:
            honor_retry_after: pause a client for ``Retry-After`` seconds after a 503; needs ``on_response``.
        """
        run = _Run(self)
        connections = asyncio.Semaphore(clients)
        loop = asyncio.get_running_loop()

        async def client() -> None:
            while (now := loop.time()) < run.began + seconds:
                response = await run.send(run.next_request(), now, connections)
                if honor_retry_after and response and response.status == 503:
                    await asyncio.sleep(float(response.headers.get("retry-after", 0)))

        async with asyncio.TaskGroup() as running:
            for _ in range(clients):
                running.create_task(client())
        return run.result()


_Request = tuple[RequestTemplate, bytes]


class _Run:
    """Hold the connections and the measurements of one load."""

    def __init__(self, generator: LoadGenerator) -> None:
        parts = urlsplit(generator.url)
        self._address = parts.hostname or "", parts.port or 80
        self._requests = itertools.cycle([(one, one.encode(parts.netloc)) for one in generator.templates])
        self._timeout_s = generator.timeout_s
        self._on_response = generator.on_response
        self._connection_type = RecordingConnection if generator.on_response else Connection
        self._idle: list[Connection] = []
        self._latencies_s: defaultdict[int, list[float]] = defaultdict(list)
        self._errors: Counter[str] = Counter()
        self._loop = asyncio.get_running_loop()
        self._cpu_s = time.process_time()
        self.began = self._loop.time()
        self._last_event = self.began

    def next_request(self) -> _Request:
        return next(self._requests)

    async def send(
        self, request: _Request, planned: float, connections: asyncio.Semaphore
    ) -> Response | None:
        """Send one request when a connection is free; return the response, or None after an error."""
        template, encoded = request
        try:
            async with asyncio.timeout_at(planned + self._timeout_s), connections:
                response = await self._exchange(encoded)
        except (OSError, httptools.HttpParserError) as error:  # TimeoutError is an OSError
            self._errors[type(error).__name__] += 1
            self._last_event = self._loop.time()
            return None
        self._last_event = self._loop.time()
        self._latencies_s[response.status].append(self._last_event - planned)
        if self._on_response:
            self._on_response(template, response, self._last_event - planned)
        return response

    async def _exchange(self, encoded: bytes) -> Response:
        while self._idle and not self._idle[-1].open:
            self._idle.pop()
        if self._idle:
            connection = self._idle.pop()
        else:
            _, connection = await self._loop.create_connection(self._connection_type, *self._address)
        try:
            response = await connection.send(encoded)
        except BaseException:
            connection.close()
            raise
        if connection.open:
            self._idle.append(connection)
        return response

    def result(self) -> LoadResult:
        for connection in self._idle:
            connection.close()
        return LoadResult(
            latencies_s=dict(self._latencies_s),
            errors=self._errors,
            seconds=self._last_event - self.began,
            cpu_s=time.process_time() - self._cpu_s,
        )
