"""What every request gets before its route: an id, a deadline, a place among the others."""

import asyncio
import math
import re
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import ClassVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.config import GatewayConfig
from serve.runtime.errors import ApiError, error_response, internal_error, overloaded

REQUEST_ID_HEADER = "x-request-id"
DEADLINE_HEADER = "x-request-timeout-seconds"
# By DEADLINE_HEADER Ray Serve answers a plain-text 408, by NO_DISCONNECT_HEADER it overlooks that a client
# hung up. Behind RequestIdMiddleware it sees neither; the gateway reads the deadline under this name.
INNER_DEADLINE_HEADER = "x-skinserve-timeout-seconds"
NO_DISCONNECT_HEADER = "x-request-disconnect-disabled"

# A response that has begun (a batch) gets this long beyond its deadline to end by itself.
STREAM_GRACE_S = 5.0


class RequestIdMiddleware:
    """The outermost layer: one sane ``X-Request-ID`` in request and answer, and no headers that steer Serve.

    It stands around the gateway's app and, by ``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH``, around Serve's
    own HTTP layer, which would read those headers first and add a second id.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = MutableHeaders(scope=scope)
        request_id = headers.get(REQUEST_ID_HEADER, "")
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", request_id):
            request_id = uuid.uuid4().hex
        headers[REQUEST_ID_HEADER] = request_id
        if DEADLINE_HEADER in headers:
            headers[INNER_DEADLINE_HEADER] = headers[DEADLINE_HEADER]
        del headers[DEADLINE_HEADER]
        del headers[NO_DISCONNECT_HEADER]

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        await self._app(scope, receive, send_with_id)


Checks = Mapping[str, Callable[[], None]]
"""By path: raises ``ApiError`` when a request would find no place."""


class LoadSheddingMiddleware:
    """Turns away who would find no place, before Serve's own HTTP layer spends many times that on him.

    It stands around that layer, like ``RequestIdMiddleware``. Where the gateway lives in the same process
    (direct ingress), it sets ``checks``; elsewhere, and under a route prefix, all pass, and
    ``AdmissionControl`` checks.
    """

    checks: ClassVar[Checks] = {}

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or refuse it."""
        if scope["type"] == "http":
            try:
                _check(self.checks, scope["method"], scope["path"])
            except ApiError as refusal:
                response = error_response(refusal.code, str(refusal), refusal.headers)
                return await response(scope, receive, send)
        await self._app(scope, receive, send)


def _check(checks: Checks, method: str, path: str) -> None:
    if method == "POST" and (check := checks.get(path)):
        check()


def serve_middlewares() -> list[Middleware]:
    """Name what Serve puts around its own HTTP layer, the outermost last; it calls this in every replica."""
    return [Middleware(LoadSheddingMiddleware), Middleware(RequestIdMiddleware)]


@dataclass
class InFlight:
    """What one gateway replica has taken in and not yet answered."""

    num_requests: int = 0
    num_bytes: int = 0


class RequestSlot:
    """The place of one request among the others; leaving it gives everything back."""

    def __init__(self, config: GatewayConfig, in_flight: InFlight, deadline: float, *, counts: bool) -> None:
        self.deadline = deadline
        """When the answer is due, on the clock of the running event loop."""
        self._config = config
        self._in_flight = in_flight
        self._num_requests = int(counts)
        self._num_bytes = 0
        self._held = ExitStack()

    def __enter__(self) -> "RequestSlot":
        limit = self._config.max_requests
        if self._in_flight.num_requests + self._num_requests > limit:
            raise overloaded(
                f"the server has {limit} requests in work and takes no more", self._config.retry_after_s
            )
        self._in_flight.num_requests += self._num_requests
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()
        self._in_flight.num_requests -= self._num_requests
        self._in_flight.num_bytes -= self._num_bytes

    def hold(self, place: AbstractContextManager[None]) -> None:
        """Enter something that is left when the request has been answered."""
        self._held.enter_context(place)

    def reserve_bytes(self, num_bytes: int) -> None:
        """Take room in memory for a part of the body."""
        if self._in_flight.num_bytes + num_bytes > self._config.max_bytes_in_flight:
            message = f"the server holds {self._in_flight.num_bytes / 1e6:.0f} MB of photos and takes no more"
            raise overloaded(message, self._config.retry_after_s)
        self._in_flight.num_bytes += num_bytes
        self._num_bytes += num_bytes


def request_slot(request: Request) -> RequestSlot:
    """Return the slot under which a route works."""
    return request.scope["skinserve.request_slot"]


class AdmissionControl:
    """Lets in a bounded number of requests, ends each at its deadline, answers what the routes could not."""

    def __init__(self, app: ASGIApp, config: GatewayConfig, checks: Checks) -> None:
        self._app = app
        self._config = config
        self._checks = checks
        self._in_flight = InFlight()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, and see to it that it is answered."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        answer = _Answer(send)
        seconds = 0.0
        try:
            seconds = _deadline_s(headers, self._config)
            route = scope["path"].removeprefix(scope.get("root_path", ""))
            _check(self._checks, scope["method"], route)  # the place is taken later, when the body is here
            deadline = asyncio.get_running_loop().time() + seconds
            with RequestSlot(
                self._config, self._in_flight, deadline, counts=scope["method"] == "POST"
            ) as slot:
                scope["skinserve.request_slot"] = slot
                async with asyncio.timeout_at(deadline) as answer.timer:
                    await self._app(scope, receive, answer.send)
            return
        except ApiError as refusal:
            response = error_response(refusal.code, str(refusal), refusal.headers)
        except ClientDisconnect:
            return  # nobody is left to answer
        except Exception as error:
            if answer.timer is not None and answer.timer.expired():
                message = f"no answer was ready within {seconds:g} s; try again later or allow more time"
                response = error_response("deadline_exceeded", message)
            else:
                response = internal_error(error, headers.get(REQUEST_ID_HEADER, "unknown"))
        if not answer.started:
            await response(scope, receive, send)


class _Answer:
    """Watches one answer on its way out; once it has begun, its deadline moves by the grace."""

    def __init__(self, send: Send) -> None:
        self.started = False
        self.timer: asyncio.Timeout | None = None
        self._send = send

    async def send(self, message: Message) -> None:
        if not self.started and self.timer is not None:
            self.started = True
            due = self.timer.when()
            if due is not None and not self.timer.expired():
                self.timer.reschedule(due + STREAM_GRACE_S)
        await self._send(message)


def _deadline_s(headers: Headers, config: GatewayConfig) -> float:
    given = headers.get(INNER_DEADLINE_HEADER)
    if given is None:
        return config.default_deadline_s
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= config.max_deadline_s:
        raise ApiError(
            "invalid_request",
            f"header {DEADLINE_HEADER} is {given[:40]!r}: must be a number of seconds above 0 and at most "
            f"{config.max_deadline_s:g}",
        )
    return seconds
