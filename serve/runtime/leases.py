"""Leases of one gateway: tokens and photos to spend without a call to the limiter.

A gateway requests more when it has none. While the limiter does not answer, it accepts its share of each
limit, reports what it accepted later, and never waits.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import NamedTuple

from serve.config import Limit
from serve.runtime import metrics
from serve.runtime.callers import Caller
from serve.runtime.limit_ledger import Call, Grant, LeaseRequest, Reply
from serve.runtime.token_bucket import DailyQuota, TokenBucket

SLOW_CALL_S = 0.2
CALL_TIMEOUT_S = 10.0
"""Of a call; a reply after ``SLOW_CALL_S`` is still applied."""
TICK_S = 0.5
IDLE_S = 1.0
"""Unused tokens and photos are returned after this time."""
HEARTBEAT_S = 5.0
FORGET_S = 10.0
PHOTO_DENIAL_S = 1.0
"""Shortest time between two calls for photos of a caller that has used its quota."""
_MAX_CALLS = 3
_NO_DAY = datetime(1, 1, 1, tzinfo=UTC)

SendCall = Callable[[Call], Awaitable[Reply]]
logger = logging.getLogger("skinserve")


class Decision(NamedTuple):
    """Acceptance of a request or of its photos, and the state of the limit."""

    accepted: bool
    limit: int
    """Requests at once, or photos of a day."""
    remaining: int
    reset_s: float
    """Until the limit is whole again."""
    wait_s: float
    """Until the request may be repeated."""


@dataclass
class _Lease:
    """State of one caller."""

    limit: Limit
    level: float
    """Tokens in the bucket at the last call."""
    tokens_used: float
    """Time."""
    photos_used: float
    tokens: int = 0
    num_waiting: int = 0
    rejects_until: float = 0
    photos: int = 0
    photos_waiting: int = 0
    photos_left: int = 0
    """In the quota at the last call."""
    photos_denied_at: float = -PHOTO_DENIAL_S
    """Time of the last call for photos that were not all granted."""
    day: date = date.min
    reset: datetime = _NO_DAY
    share: TokenBucket | None = None
    """While the limiter does not answer."""
    owed_tokens: int = 0
    """Accepted without the limiter, not yet reported."""
    owed_photos: int = 0


class LeaseClient:
    """Decide about the requests of one gateway.

    Args:
        call: sends lease requests to the limiter.
        clock: seconds, monotonic.
        now: time of day.
        slow_call_s: a request does not wait longer for the limiter.
    """

    def __init__(
        self,
        call: SendCall,
        *,
        slow_call_s: float = SLOW_CALL_S,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._call = call
        self._clock = clock
        self._now = now
        self._slow_call_s = slow_call_s
        self._gateway = uuid.uuid4().hex
        self._num_gateways = 1
        self._leases: dict[str, _Lease] = {}
        self._pending: set[str] = set()
        self._attached = True
        self._problem = ""
        self._last_call = -HEARTBEAT_S
        self._next_call: asyncio.Future[None] | None = None
        self._calls: asyncio.Task[None] | None = None
        self._ticks: asyncio.Task[None] | None = None
        self.num_calls = 0

    def start(self) -> None:
        """Start the task that returns idle leases and sends heartbeats; call in an event loop."""
        if self._ticks is None or self._ticks.done():
            self._ticks = asyncio.get_running_loop().create_task(self._tick())

    async def close(self) -> None:
        """Return all leases."""
        if self._ticks is not None:
            self._ticks.cancel()
        for name, lease in self._leases.items():
            lease.tokens_used = lease.photos_used = -IDLE_S - 1
            self._pending.add(name)
        if self._attached and self._pending:
            await self._wait_for_call()

    async def take_token(self, caller: Caller) -> Decision:
        """Decide about one request of a caller with a limit of requests."""
        lease = self._lease(caller)
        for _ in range(_MAX_CALLS):
            now = self._clock()
            if lease.tokens > 0:
                lease.tokens -= 1
                lease.tokens_used = now
                return _token_decision(lease)
            if not self._attached:
                return self._take_of_share(lease, now)
            if now < lease.rejects_until:
                return _token_decision(lease, wait_s=lease.rejects_until - now)
            lease.num_waiting += 1
            self._pending.add(caller.name)
            await self._wait_for_call()
        return _token_decision(lease, wait_s=TICK_S)

    async def take_photos(self, caller: Caller, number: int) -> Decision:
        """Decide about the photos of one request; 0 finds whether any photo is left."""
        lease = self._lease(caller)
        for _ in range(_MAX_CALLS):
            now = self._clock()
            if lease.reset <= self._now():  # leases of yesterday
                lease.photos = 0
                lease.photos_denied_at = -PHOTO_DENIAL_S
            if lease.photos >= max(1, number):
                lease.photos -= number
                lease.photos_used = now
                return self._photo_decision(lease, accepted=True)
            if not self._attached:
                return self._take_photos_of_share(lease, number)
            if now < lease.photos_denied_at + PHOTO_DENIAL_S:
                return self._photo_decision(lease, accepted=False)
            lease.photos_waiting += max(1, number)
            self._pending.add(caller.name)
            await self._wait_for_call()
        return self._photo_decision(lease, accepted=False)

    def give_back_photos(self, caller: Caller, number: int) -> None:
        """Return photos of a request that failed in the server."""
        self._lease(caller).photos += number

    def _lease(self, caller: Caller) -> _Lease:
        lease, limit = self._leases.get(caller.name), caller.limit or Limit()
        if lease is None:
            now = self._clock()
            lease = _Lease(limit, limit.burst_size or 0, now, now)
            lease.photos_denied_at = now - PHOTO_DENIAL_S
            self._leases[caller.name] = lease
        elif lease.limit is not limit and lease.limit != limit:  # the keys file has changed
            lease.limit, lease.share = limit, None
            lease.rejects_until = self._clock()
        return lease

    def _take_of_share(self, lease: _Lease, now: float) -> Decision:
        if lease.share is None:
            rate, burst = lease.limit.requests_per_second or 1, lease.limit.burst_size or 1
            parts = self._num_gateways
            level = max(lease.level / parts, float(lease.level >= 1))
            lease.share = TokenBucket(rate / parts, max(2, burst / parts), now=now, level=level)
        lease.tokens_used = now
        if not lease.share.take(1, now):
            return _token_decision(lease, wait_s=lease.share.wait_s(now))
        lease.owed_tokens += 1
        return _token_decision(lease)

    def _take_photos_of_share(self, lease: _Lease, number: int) -> Decision:
        if lease.reset <= self._now():
            quota = DailyQuota(lease.limit.time_zone)
            lease.photos_left = quota.left(lease.limit.photos_per_day or 0, self._now())
            lease.day, lease.reset, lease.owed_photos = quota.day, quota.reset_time(), 0
        accepted = lease.photos_left // self._num_gateways - lease.owed_photos >= max(1, number)
        if accepted:
            lease.owed_photos += number
            lease.photos_used = self._clock()
        return self._photo_decision(lease, accepted=accepted)

    def _photo_decision(self, lease: _Lease, *, accepted: bool) -> Decision:
        remaining = max(0, lease.photos + lease.photos_left - lease.owed_photos)
        reset_s = max(1.0, (lease.reset - self._now()).total_seconds())
        per_day = lease.limit.photos_per_day or 0
        return Decision(accepted, per_day, remaining, reset_s, 0 if accepted else reset_s)

    async def _wait_for_call(self) -> None:
        """Wait for the end of a call that starts now or later, at most ``slow_call_s``."""
        done, _ = await asyncio.wait({self._request_call()}, timeout=self._slow_call_s)
        if not done:
            self._detach(f"no answer within {self._slow_call_s:g} s")

    def _request_call(self) -> "asyncio.Future[None]":
        loop = asyncio.get_running_loop()
        if self._next_call is None or self._next_call.get_loop() is not loop:
            self._next_call = loop.create_future()
        if self._calls is None or self._calls.done():
            self._calls = loop.create_task(self._run_calls())
        return self._next_call

    async def _run_calls(self) -> None:
        """Run one call at a time; lease requests that arrive meanwhile share the next one."""
        while self._next_call is not None:
            ended, self._next_call = self._next_call, None
            await self._run_call()
            if not ended.done():
                ended.set_result(None)

    async def _run_call(self) -> None:
        names, self._pending = self._pending, set()
        leases = {name: lease for name in names if (lease := self._leases.get(name))}
        self._last_call = self._clock()
        requests = [_lease_request(name, lease, self._last_call) for name, lease in leases.items()]
        self.num_calls += 1
        try:
            reply = await asyncio.wait_for(self._call((self._gateway, requests)), CALL_TIMEOUT_S)
        except Exception as error:  # of any kind: requests go on without the limiter
            for request, lease in zip(requests, leases.values(), strict=True):
                lease.owed_tokens -= min(0, request.returned_tokens)
                lease.owed_photos -= min(0, request.returned_photos)
            self._detach(f"{type(error).__name__}: {error}".splitlines()[0][:200])
            return
        self._num_gateways = max(1, reply.num_gateways)
        for request, lease, grant in zip(requests, leases.values(), reply.grants, strict=True):
            self._apply(request, lease, grant)
        self._attach(reply.problem)

    def _apply(self, request: LeaseRequest, lease: _Lease, grant: Grant) -> None:
        now = self._clock()
        lease.tokens += grant.tokens
        lease.level = grant.level
        lease.rejects_until = now + grant.wait_s
        if lease.day != grant.day:
            lease.photos = 0
        lease.photos += grant.photos
        lease.photos_left, lease.day, lease.reset = grant.photos_left, grant.day, grant.reset
        if grant.photos < request.photos:
            lease.photos_denied_at = now

    def _attach(self, problem: str) -> None:
        if not self._attached:
            self._attached = True
            logger.warning("rate limits: the limiter answers again")
            for name, lease in self._leases.items():
                lease.share = None
                if lease.owed_tokens or lease.owed_photos:
                    self._pending.add(name)
        if problem and problem != self._problem:
            logger.error("rate limits: %s", problem)
        self._problem = problem

    def _detach(self, reason: str) -> None:
        if self._attached:
            self._attached = False
            metrics.limiter_failures().inc()
            logger.warning(
                "rate limits: the limiter does not answer (%s); this gateway accepts 1/%d of each limit",
                reason,
                self._num_gateways,
            )

    async def _tick(self) -> None:
        while True:
            self._return_unused()
            if self._pending or not self._attached or self._clock() >= self._last_call + HEARTBEAT_S:
                self._request_call()
            await asyncio.sleep(TICK_S)

    def _return_unused(self) -> None:
        """Mark idle leases to be returned with the next call, and forget old ones."""
        now = self._clock()
        for name, lease in list(self._leases.items()):
            if (lease.tokens and now - lease.tokens_used > IDLE_S) or (
                lease.photos and now - lease.photos_used > IDLE_S
            ):
                self._pending.add(name)
            elif now - max(lease.tokens_used, lease.photos_used) > FORGET_S and not (
                lease.tokens or lease.photos or lease.owed_tokens or lease.owed_photos
            ):
                del self._leases[name]


def _lease_request(name: str, lease: _Lease, now: float) -> LeaseRequest:
    """Return the lease request of a caller with its unused leases; reset the counts."""
    idle_tokens = lease.tokens if not lease.num_waiting and now - lease.tokens_used > IDLE_S else 0
    idle_photos = lease.photos if not lease.photos_waiting and now - lease.photos_used > IDLE_S else 0
    request = LeaseRequest(
        name,
        lease.limit,
        tokens=lease.num_waiting,
        photos=lease.photos_waiting,
        returned_tokens=idle_tokens - lease.owed_tokens,
        returned_photos=idle_photos - lease.owed_photos,
        day=lease.day,
    )
    lease.tokens -= idle_tokens
    lease.photos -= idle_photos
    lease.num_waiting = lease.photos_waiting = lease.owed_tokens = lease.owed_photos = 0
    return request


def _token_decision(lease: _Lease, *, wait_s: float | None = None) -> Decision:
    """Accept a request, or reject it with the time to wait."""
    rate, burst = lease.limit.requests_per_second or 1, lease.limit.burst_size or 1
    remaining = 0 if wait_s else max(0, min(burst, int(lease.tokens + lease.level)))
    return Decision(wait_s is None, burst, remaining, (burst - remaining) / rate, wait_s or 0)
