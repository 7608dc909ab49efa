"""Admission of requests: what is accepted, queued or rejected, in the order in which a request meets it.

The numbers are those of the table in docs/operations.md, which has settings, defaults and responses.

   ``DrainMiddleware``, around Serve's HTTP layer: reads the rest of a rejected body.
   ``RequestIdMiddleware``, around Serve's HTTP layer: request id, headers that control Serve.
   ``AuditMiddleware``, around the routes and the rejections of step 1.
   ``AuthMiddleware``, around the routes: before step 2, and before any rejection of step 1.
1. ``LoadSheddingMiddleware``, around Serve's HTTP layer: rejects what step 5 would reject.
2. ``AdmissionControl``, around the routes: deadline; step 1 again, for requests that did not pass it.
3. ``RequestSlot``: requests in flight.
4. ``RequestSlot.reserve_bytes``: bytes in flight; ``serve.runtime.uploads``: size and rate of one body.
5. ``AdaptiveLimiter``, around the work of a route: photos in flight on one model.
6. The semaphore for photos of batch requests, which are queued and never rejected.
   ``RequestCoalescer``: many photos wait up to 5 ms and share a call; never rejects.
7. Serve's queue for the replicas: ``max_queued_requests``.
8. The replica: ``max_ongoing_requests``, and the photos that it accepts. When it is full, the client tries
   another one, then raises ``QueueFullError``; the limiter of step 5 lowers its limit.
"""

import asyncio
import math
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.config import GatewayConfig
from serve.runtime.audit_log import AuditLog, AuditMiddleware
from serve.runtime.auth import Authorizer
from serve.runtime.errors import (
    ApiError,
    QueueFullError,
    error_response,
    internal_error,
    no_route,
    overloaded,
)
from serve.runtime.http_layers import DrainMiddleware, cors
from serve.runtime.security_headers import SecurityHeadersMiddleware
from serve.schemas import DEADLINE_HEADER

REQUEST_ID_HEADER = "x-request-id"
# Ray Serve answers DEADLINE_HEADER with a plain-text 408 and ignores disconnects after NO_DISCONNECT_HEADER.
# Hence it sees neither; AdmissionControl reads the deadline from INNER_DEADLINE_HEADER.
INNER_DEADLINE_HEADER = "x-skinserve-timeout-seconds"
NO_DISCONNECT_HEADER = "x-request-disconnect-disabled"
MODEL_ID_HEADER = b"serve_multiplexed_model_id"
"""A model id for Ray Serve, written with ``_`` or ``-``; only ``?model=`` chooses a model."""
SERVE_ROUTES_PATH = "/-/routes"
"""Lists the applications of Serve to everybody. ``/-/healthz`` stays open: HAProxy checks it."""

STREAM_GRACE_S = 5.0
"""Extra time for a response that has started (the lines of a batch) to end by itself."""
_SLOT = "skinserve.request_slot"

AdmissionChecks = Mapping[str, Callable[[], None]]
"""By path: raises ``ApiError`` when another request would be rejected."""

_checks_of_process: dict[str, Callable[[], None]] = {}
_origins_of_process: list[str] = []
_authorizers_of_process: list[Authorizer] = []
_audit_logs_of_process: list[AuditLog] = []


def serve_middlewares() -> list[Middleware]:
    """Return the middleware around Serve's HTTP layer, outermost last.

    Serve calls this in every replica and proxy.
    """
    return [
        Middleware(
            LoadSheddingMiddleware,
            checks=_checks_of_process,
            allowed_origins=_origins_of_process,
            authorizers=_authorizers_of_process,
            audit_logs=_audit_logs_of_process,
        ),
        Middleware(RequestIdMiddleware),
        Middleware(DrainMiddleware),
    ]


def publish_checks(
    checks: AdmissionChecks,
    allowed_origins: Sequence[str] = (),
    authorizer: Authorizer | None = None,
    audit_log: AuditLog | None = None,
) -> None:
    """Hand checks, origins, keys and audit log of the gateway of this process to ``LoadSheddingMiddleware``.

    Serve creates the middleware by import path, without arguments, before or after the gateway.
    """
    _checks_of_process.clear()
    _checks_of_process.update(checks)
    _origins_of_process[:] = allowed_origins
    _authorizers_of_process[:] = [authorizer] if authorizer is not None else []
    _audit_logs_of_process[:] = [audit_log] if audit_log is not None else []


class RequestIdMiddleware:
    """Set one valid ``X-Request-ID`` and remove headers that control Serve.

    It wraps the gateway's app and, through ``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH``, Serve's HTTP layer,
    which would otherwise read those headers first and add a second id.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on one request."""
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
        for name in [
            key for key, _ in scope["headers"] if key.lower().replace(b"-", b"_") == MODEL_ID_HEADER
        ]:
            del headers[name.decode("latin-1")]

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        await self._app(scope, receive, send_with_id)


class LoadSheddingMiddleware:
    """Reject requests over a limit before Serve's HTTP layer spends CPU on them, and ``SERVE_ROUTES_PATH``.

    Without a gateway in this process (a proxy) and under a route prefix ``checks`` has no entry for the path;
    ``AdmissionControl`` then rejects the request.
    """

    def __init__(
        self,
        app: ASGIApp,
        checks: AdmissionChecks,
        allowed_origins: Sequence[str],
        authorizers: Sequence[Authorizer] = (),
        audit_logs: Sequence[AuditLog] = (),
    ) -> None:
        self._app = app
        self._checks = checks
        self._allowed_origins = allowed_origins
        self._authorizers = authorizers
        self._audit_logs = audit_logs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on or reject one request."""
        if scope["type"] == "http":
            try:
                if scope["path"] == SERVE_ROUTES_PATH:
                    raise no_route(scope["method"], scope["path"])
                _check_path(self._checks, scope["method"], scope["path"])
            except ApiError as rejection:
                error = await self._unauthorized(scope) or rejection
                response: ASGIApp = error_response(error.code, str(error), error.headers)
                for log in self._audit_logs:
                    response = AuditMiddleware(response, log, needs_key=bool(self._authorizers))
                if self._allowed_origins:
                    response = cors(response, allow_origins=self._allowed_origins)
                response = SecurityHeadersMiddleware(response)
                return await response(scope, receive, send)
        await self._app(scope, receive, send)

    async def _unauthorized(self, scope: Scope) -> ApiError | None:
        """Return the error of a request without a valid key; it must not reveal the load."""
        for authorizer in self._authorizers:
            try:
                await authorizer.caller(scope)
            except ApiError as error:
                return error
        return None


class AdmissionControl:
    """Limit requests in flight, end each at its deadline, and answer errors."""

    def __init__(self, app: ASGIApp, config: GatewayConfig, checks: AdmissionChecks) -> None:
        self._app = app
        self._config = config
        self._checks = checks
        self._in_flight = InFlight()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on or reject one request; send exactly one response."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        tracked = _TrackedResponse(send)
        timeout_s = 0.0
        try:
            timeout_s = _timeout_s(headers, self._config)
            route = scope["path"].removeprefix(scope.get("root_path", ""))
            _check_path(self._checks, scope["method"], route)
            deadline = asyncio.get_running_loop().time() + timeout_s
            is_post = scope["method"] == "POST"
            with RequestSlot(self._config, self._in_flight, deadline, counts=is_post) as slot:
                scope[_SLOT] = slot
                async with asyncio.timeout_at(deadline) as tracked.timer:
                    await self._app(scope, receive, tracked.send)
            return
        except ApiError as error:
            response = error_response(error.code, str(error), error.headers)
        except ClientDisconnect:
            return
        except Exception as error:
            if tracked.timer is not None and tracked.timer.expired():
                message = f"no answer was ready within {timeout_s:g} s; try again later or allow more time"
                response = error_response("deadline_exceeded", message)
            else:
                response = internal_error(error, headers.get(REQUEST_ID_HEADER, "unknown"))
        if not tracked.started:
            await response(scope, receive, send)


@dataclass
class InFlight:
    """Count what one gateway replica has accepted and not yet answered."""

    num_requests: int = 0
    num_bytes: int = 0


class RequestSlot:
    """Hold the share of one request in its gateway's limits until the context is left."""

    def __init__(self, config: GatewayConfig, in_flight: InFlight, deadline: float, *, counts: bool) -> None:
        self.deadline = deadline
        """When the response is due, on the clock of the running event loop."""
        self._config = config
        self._in_flight = in_flight
        self._num_requests = int(counts)
        self._num_bytes = 0
        self._contexts = ExitStack()

    def __enter__(self) -> "RequestSlot":
        limit = self._config.max_requests
        if self._in_flight.num_requests + self._num_requests > limit:
            raise overloaded(f"{limit} requests are in progress, the limit", self._config.retry_after_s)
        self._in_flight.num_requests += self._num_requests
        return self

    def __exit__(self, *_: object) -> None:
        self._contexts.close()
        self._in_flight.num_requests -= self._num_requests
        self._in_flight.num_bytes -= self._num_bytes

    def enter_context(self, context: AbstractContextManager[None]) -> None:
        """Enter a context that is left when the response has been sent."""
        self._contexts.enter_context(context)

    def reserve_bytes(self, num_bytes: int) -> None:
        """Reserve memory for a part of the body, or raise ``overloaded``."""
        if self._in_flight.num_bytes + num_bytes > self._config.max_bytes_in_flight:
            message = f"{self._in_flight.num_bytes / 1e6:.0f} MB of photos are in memory, the limit"
            raise overloaded(message, self._config.retry_after_s)
        self._in_flight.num_bytes += num_bytes
        self._num_bytes += num_bytes


def request_slot(request: Request) -> RequestSlot:
    """Return the slot of a request that ``AdmissionControl`` accepted."""
    return request.scope[_SLOT]


class AdaptiveLimiter:
    """Limit concurrent work on one model, by additive increase, multiplicative decrease (AIMD).

    A gateway knows neither how many replicas a model has nor how many gateways share them. Hence the limit
    falls by a tenth when the queue of the replicas is full, and rises with every answer. Of several
    rejections of work that was accepted before the last decrease, only the first counts.

    Args:
        max_limit: upper bound of the limit, and its start.
        items: what is counted, for the message.
    """

    def __init__(self, max_limit: int, items: str, *, retry_after_s: int) -> None:
        self.limit = float(max_limit)
        """Current limit, 1 to ``max_limit``."""
        self._max_limit = max_limit
        self._items = items
        self._retry_after_s = retry_after_s
        self._in_use = 0
        self._num_decreases = 0
        self.last_released_at = -math.inf
        """When an item was last completed, on the monotonic clock."""

    @property
    def in_use(self) -> int:
        """Return the number of items in progress."""
        return self._in_use

    def check(self, number: int = 1) -> None:
        """Raise ``overloaded`` if ``number`` more items exceed the limit.

        An idle limiter accepts any number: a series may have more photos than a lowered limit.
        """
        if self._in_use and self._in_use + number > self.limit:
            raise overloaded(f"{self._in_use} {self._items} are in progress", self._retry_after_s)

    @contextmanager
    def acquire(self, number: int = 1) -> Iterator[None]:
        """Count ``number`` items as in progress while the context is open.

        Raises:
            ApiError: ``overloaded``.
        """
        self.check(number)
        self._in_use += number
        num_decreases = self._num_decreases
        try:
            yield
            self.limit = min(self._max_limit, self.limit + number / self.limit)
        except QueueFullError:
            if num_decreases == self._num_decreases:
                self._num_decreases += 1
                self.limit = max(1.0, 0.9 * self.limit)
            raise
        finally:
            self._in_use -= number
            self.last_released_at = time.monotonic()


class _TrackedResponse:
    """Forward a response; when it starts, extend its deadline by ``STREAM_GRACE_S``."""

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


def _check_path(checks: AdmissionChecks, method: str, path: str) -> None:
    if method == "POST" and (check := checks.get(path)):
        check()


def _timeout_s(headers: Headers, config: GatewayConfig) -> float:
    value = headers.get(INNER_DEADLINE_HEADER)
    if value is None:
        return config.default_deadline_s
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= config.max_deadline_s:
        raise ApiError(
            "invalid_request",
            f"header {DEADLINE_HEADER} is {value[:40]!r}: must be a number of seconds above 0 and at most "
            f"{config.max_deadline_s:g}",
        )
    return seconds
