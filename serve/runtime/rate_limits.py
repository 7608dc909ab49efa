"""Limits of callers: requests per second and photos per day, over all gateways together.

The arithmetic is in ``token_bucket``, the state in ``limit_ledger`` and its actor ``rate_limit_actor``, the
state of one gateway in ``leases``. Decision: docs/decisions/0030-rate-limits.md.
"""

import ipaddress
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.config import GatewayConfig, Limit
from serve.runtime import metrics
from serve.runtime.callers import CALLER, ROLES, Caller, caller_of
from serve.runtime.errors import ApiError, error_response
from serve.runtime.forwarded_headers import CLIENT_ADDRESS
from serve.runtime.leases import Decision, LeaseClient
from serve.runtime.openapi import HEALTH_PATHS

LIMIT_HEADER, REMAINING_HEADER, RESET_HEADER = "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"
"""As Kong sends them: draft-ietf-httpapi-ratelimit-headers-07, seconds until the reset."""
IPV6_PREFIX = 64
"""Bits of the network that one client has."""
_PHOTOS = "skinserve.photo_count"
_FEEDBACK = "feedback"
"""Name of the shared limit of feedback in the ledger; no caller has it."""


def has_limits(config: GatewayConfig) -> bool:
    """Return whether callers may have limits; limits of keys can change while the server runs."""
    limits_feedback = config.feedback is not None and config.feedback_per_minute is not None
    return config.client_limit is not None or config.keys_file is not None or limits_feedback


def limit_notices(config: GatewayConfig, limits: Iterable[Limit]) -> list[str]:
    """Return the notices about limits for the start of the server.

    Args:
        limits: of the keys; ``config.client_limit`` does not apply with keys.
    """
    notices: list[str] = []
    if config.keys_file is not None and config.client_limit is not None:
        notices.append("gateway.client_limit is ignored: the limits of keys.yaml apply")
    elif config.client_limit is not None:
        limits = [config.client_limit]
        proxy = config.trusted_proxy
        notices.append(
            f"gateway.client_limit applies to each address that the proxy {proxy.name} sends"
            if proxy is not None
            else "clients have no known address: all of them together share gateway.client_limit; set "
            "gateway.trusted_proxy to limit each address"
        )
    if _is_shared_feedback(config):
        notices.append(
            "clients have no known address: all of them together can store "
            f"{config.feedback_max_mb_per_address} MB of feedback; set gateway.trusted_proxy to limit each "
            "address, or gateway.feedback_max_mb_per_address"
        )
    if config.quota_folder is None and any(limit.photos_per_day for limit in limits):
        notices.append("photos per day start at 0 after a restart; set gateway.quota_folder to keep them")
    return notices


class RateLimitMiddleware:
    """Reject requests over the limit of their caller before the body is read.

    Args:
        leases: accepts or rejects.
        client_limit: of callers without a key: of each client address, or of all clients together.
    """

    def __init__(self, app: ASGIApp, leases: LeaseClient, client_limit: Limit | None) -> None:
        self._app = app
        self._leases = leases
        self._client_limit = client_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on or reject one request; return the leases of this gateway at its end."""
        if scope["type"] == "lifespan":
            self._leases.start()
            try:
                return await self._app(scope, receive, send)
            finally:
                await self._leases.close()
        if scope["type"] == "http" and not _is_health_check(scope):
            caller = self._caller(scope)
            if caller is not None and caller.limit is not None:
                return await self._limit(caller, caller.limit, scope, receive, send)
        await self._app(scope, receive, send)

    def _caller(self, scope: Scope) -> Caller | None:
        if CALLER not in scope and self._client_limit is not None:
            scope[CALLER] = Caller(name=client_name(scope), roles=frozenset(ROLES), limit=self._client_limit)
        return scope.get(CALLER)

    async def _limit(self, caller: Caller, limit: Limit, scope: Scope, receive: Receive, send: Send) -> None:
        self._leases.start()
        photos = PhotoCount(self._leases, caller, limit)
        headers: Mapping[str, str] = {}
        try:
            if limit.requests_per_second is not None:
                decision = await self._leases.take_token(caller)
                headers = _limit_headers(decision)
                if not decision.accepted:
                    raise _too_many_requests(caller, limit, decision)
            if limit.photos_per_day is not None and scope["method"] == "POST":
                await photos.check_any_left()
                scope[_PHOTOS] = photos
        except ApiError as error:
            response = error_response(error.code, str(error), error.headers)
            return await response(scope, receive, send)

        async def send_with_limit(message: Message) -> None:
            if message["type"] == "http.response.start":
                if message["status"] >= 500:
                    photos.give_back()
                response_headers = MutableHeaders(scope=message)
                for name, value in headers.items():
                    response_headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_limit)


class PhotoCount:
    """Count the photos of one request in the daily quota of its caller."""

    def __init__(self, leases: LeaseClient, caller: Caller, limit: Limit) -> None:
        self._leases = leases
        self._caller = caller
        self._limit = limit
        self._counted = 0

    async def check_any_left(self) -> None:
        """Raise ``ApiError`` if the quota of today is used."""
        await self._take(0)

    async def add(self, number: int) -> None:
        """Count photos, or raise ``ApiError`` if fewer are left."""
        await self._take(number)
        self._counted += number

    def give_back(self) -> None:
        """Give back the photos of this request, which failed in the server."""
        if self._counted:
            self._leases.give_back_photos(self._caller, self._counted)
            self._counted = 0

    def keep(self) -> Callable[[], None]:
        """Keep these photos counted even after a 5xx; return a function that gives them back."""
        kept, self._counted = self._counted, 0
        return partial(self._leases.give_back_photos, self._caller, kept)

    async def _take(self, number: int) -> None:
        decision = await self._leases.take_photos(self._caller, number)
        if not decision.accepted:
            raise _too_many_photos(self._caller, self._limit, decision, number)


async def count_photos(request: Request, number: int) -> None:
    """Count the photos of a request in the daily quota of its caller.

    Photos of a 5xx are given back, unless ``keep_photos`` is called.

    Raises:
        ApiError: ``rate_limited``.
    """
    count: PhotoCount | None = request.scope.get(_PHOTOS)
    if count is not None:
        await count.add(number)


def keep_photos(request: Request) -> Callable[[], None]:
    """Keep the photos of a request counted even after a 5xx; return a function that gives them back."""
    count: PhotoCount | None = request.scope.get(_PHOTOS)
    return (lambda: None) if count is None else count.keep()


async def limit_feedback(scope: Scope, leases: LeaseClient | None, per_minute: int | None) -> None:
    """Count one feedback of a caller without a key in the limit that all of them share.

    Raises:
        ApiError: ``rate_limited``.
    """
    if leases is None or per_minute is None or caller_of(scope).name.startswith(("key:", "jwt:")):
        return
    leases.start()
    limit = Limit(requests_per_second=per_minute / 60, burst=per_minute)
    decision = await leases.take_token(Caller(name=_FEEDBACK, roles=frozenset(), limit=limit))
    if decision.accepted:
        return
    metrics.rate_limited().inc(tags={"caller": "anonymous", "limit": "feedback"})
    wait_s = max(1, math.ceil(decision.wait_s))
    raise ApiError(
        "rate_limited",
        f"more than {per_minute} feedbacks per minute were sent by all clients without a key together; "
        f"try again in {wait_s} s",
        {"Retry-After": str(wait_s), **_limit_headers(decision)},
    )


def client_name(scope: Scope) -> str:
    """Return the name of a caller without a key: its address behind a trusted proxy."""
    sent: str | None = scope.get(CLIENT_ADDRESS)
    if sent is None:
        return "anonymous"
    address = ipaddress.ip_address(sent)
    if address.version == 6:
        return f"address:{ipaddress.ip_network((address, IPV6_PREFIX), strict=False)}"
    return f"address:{address}"


def visitor_of(scope: Scope) -> Caller:
    """Return the caller of a request; without a key of its own the client address, if it is known."""
    caller = caller_of(scope)
    if caller.name not in ("anonymous", "page") or scope.get(CLIENT_ADDRESS) is None:
        return caller
    return replace(caller, name=client_name(scope))


def sender_of(caller: Caller) -> str:
    """Return how messages name a caller, after "was sent"."""
    kind, _, name = caller.name.partition(":")
    return {
        "key": f"with the key {name}",
        "jwt": "with this token",
        "page": "by all visitors of the page together",
        "address": f"from {name}",
    }.get(kind, "by all clients without a key together")


def _is_shared_feedback(config: GatewayConfig) -> bool:
    limit = config.feedback_max_mb_per_address
    is_bounded = config.feedback is not None and limit is not None and limit < config.feedback_max_mb
    return is_bounded and config.keys_file is None and config.trusted_proxy is None


def _is_health_check(scope: Scope) -> bool:
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    return path in HEALTH_PATHS and scope["method"] in ("GET", "HEAD")


def _limit_headers(decision: Decision) -> dict[str, str]:
    return {
        LIMIT_HEADER: str(decision.limit),
        REMAINING_HEADER: str(decision.remaining),
        RESET_HEADER: str(math.ceil(decision.reset_s)),
    }


def _too_many_requests(caller: Caller, limit: Limit, decision: Decision) -> ApiError:
    rate = limit.requests_per_second
    wait_s = max(1, math.ceil(decision.wait_s))
    message = (
        f"more than {rate:g} requests per second were sent {sender_of(caller)}, at once at most "
        f"{decision.limit}; try again in {wait_s} s"
    )
    return _rate_limited(caller, "requests", message, decision, wait_s)


def _too_many_photos(caller: Caller, limit: Limit, decision: Decision, number: int) -> ApiError:
    reset = datetime.now(UTC) + timedelta(seconds=decision.reset_s)
    local = reset.astimezone(ZoneInfo(limit.time_zone)).replace(microsecond=0).isoformat()
    used = f"{decision.limit} photos per day are allowed {sender_of(caller)}"
    left = (
        f"{decision.remaining} of them are left, the request has {number}"
        if decision.remaining
        else ("all were used")
    )
    message = f"{used}, {left}; the next day begins at {local} ({limit.time_zone})"
    return _rate_limited(caller, "photos", message, decision, max(1, math.ceil(decision.wait_s)))


def _rate_limited(caller: Caller, kind: str, message: str, decision: Decision, wait_s: int) -> ApiError:
    metrics.rate_limited().inc(tags={"caller": _label(caller), "limit": kind})
    return ApiError("rate_limited", message, {"Retry-After": str(wait_s), **_limit_headers(decision)})


def _label(caller: Caller) -> str:
    """Return the value of a label, without addresses and subjects: their number is unlimited."""
    kind = caller.name.partition(":")[0]
    return kind if kind in ("address", "jwt") else caller.name
