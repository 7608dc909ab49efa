"""State of all limits of a cluster, in plain Python; ``serve.runtime.rate_limit_actor`` runs it.

A gateway sends one ``LeaseRequest`` per caller and gets leases: tokens and photos to spend without a call.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import NamedTuple

from serve.config import Limit
from serve.runtime.token_bucket import DailyQuota, TokenBucket

LEASE_S = 0.2
"""A gateway gets the tokens of this time at once."""
MIN_WAIT_S = 0.2
"""A gateway that got no tokens rejects requests for this time without another call."""
GATEWAY_TIMEOUT_S = 15.0
"""A gateway without a call for this time counts as ended."""
MAX_PHOTO_LEASE = 64
MAX_CALLERS = 100_000
"""Further callers share one limit. Only client addresses reach this number."""
_OTHERS = "others"
_ADDRESS = "address:"


class LeaseRequest(NamedTuple):
    """Request tokens and photos for one caller of one gateway."""

    caller: str
    limit: Limit
    tokens: int = 0
    """Requests that wait for a token."""
    photos: int = 0
    """Photos that wait to be counted."""
    returned_tokens: int = 0
    """Unused; negative: spent while the ledger could not be reached."""
    returned_photos: int = 0
    """As ``returned_tokens``, of ``day``."""
    day: date = date.min


class Grant(NamedTuple):
    """Answer to one ``LeaseRequest``."""

    tokens: int
    level: float
    """Tokens that are left."""
    wait_s: float
    """From the use of the granted tokens to the next useful call."""
    photos: int
    photos_left: int
    """Today, after this grant."""
    day: date
    reset: datetime
    """When the photos of ``day`` are counted from 0 again."""


class Reply(NamedTuple):
    """Answer to the lease requests of one gateway."""

    num_gateways: int
    grants: list[Grant]
    problem: str = ""
    """Why photo counts are not saved."""


Call = tuple[str, Sequence[LeaseRequest]]
"""Identifier of the gateway and its lease requests."""
_NO_DAY = datetime(1, 1, 1, tzinfo=UTC)


@dataclass
class _Entry:
    bucket: TokenBucket | None = None
    quota: DailyQuota | None = None


@dataclass
class LimitLedger:
    """Grant leases of tokens and photos to the gateways of one application.

    Args:
        clock: seconds, monotonic.
        now: time of day.
        starts_empty: a bucket starts with the tokens since the start of the ledger, because an earlier
            ledger granted its burst.
        quotas: photos counted earlier.
    """

    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    starts_empty: bool = False
    quotas: dict[str, DailyQuota] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._started = self.clock()
        self._entries = {caller: _Entry(quota=quota) for caller, quota in self.quotas.items()}
        self._last_call_of: dict[str, float] = {}
        self.num_changes = 0
        """Of photo counts."""

    def exchange(self, gateway: str, requests: Iterable[LeaseRequest]) -> Reply:
        """Take back the returned leases of a gateway; grant requested ones within the limits."""
        self._last_call_of[gateway] = self.clock()
        grants = [self._grant(request) for request in requests]
        return Reply(len(self._last_call_of), grants)

    async def call(self, call: Call) -> Reply:
        """Exchange leases with a gateway in the same process."""
        return self.exchange(*call)

    def num_gateways(self) -> int:
        """Forget gateways that have ended; return the number of the others."""
        oldest = self.clock() - GATEWAY_TIMEOUT_S
        self._last_call_of = {name: at for name, at in self._last_call_of.items() if at >= oldest}
        return len(self._last_call_of)

    def sweep(self) -> None:
        """Forget callers whose limits are as at the start."""
        clock, now = self.clock(), self.now()
        for caller, entry in list(self._entries.items()):
            if entry.bucket is not None and entry.bucket.level(clock) >= entry.bucket.burst:
                entry.bucket = None
            if entry.quota is not None and entry.quota.used_today(now) == 0:
                entry.quota = None
            if entry.bucket is None and entry.quota is None:
                del self._entries[caller]

    def saved_quotas(self) -> dict[str, DailyQuota]:
        """Return the photo counts to save; addresses of clients are never written to a disk."""
        return {
            caller: entry.quota
            for caller, entry in self._entries.items()
            if entry.quota is not None and not caller.startswith(_ADDRESS)
        }

    def _grant(self, request: LeaseRequest) -> Grant:
        entry = self._entry(request.caller)
        tokens, level, wait_s = self._grant_tokens(entry, request)
        photos, photos_left, day, reset = self._grant_photos(entry, request)
        return Grant(tokens, level, wait_s, photos, photos_left, day, reset)

    def _entry(self, caller: str) -> _Entry:
        if caller not in self._entries and len(self._entries) >= MAX_CALLERS:
            caller = _OTHERS
        return self._entries.setdefault(caller, _Entry())

    def _grant_tokens(self, entry: _Entry, request: LeaseRequest) -> tuple[int, float, float]:
        rate, burst = request.limit.requests_per_second, request.limit.burst_size
        if rate is None or burst is None:
            entry.bucket = None
            return request.tokens, 0.0, 0.0
        clock = self.clock()
        bucket = entry.bucket
        if bucket is None:
            level = rate * (clock - self._started) if self.starts_empty else None
            bucket = entry.bucket = TokenBucket(rate, burst, now=clock, level=level)
        elif (bucket.rate, bucket.burst) != (rate, burst):
            bucket.configure(rate, burst, clock)
        if request.returned_tokens:
            bucket.give_back(request.returned_tokens, clock)
        if not request.tokens:
            return 0, bucket.level(clock), 0.0
        wanted = max(request.tokens, math.floor(rate * LEASE_S))
        granted = bucket.take(wanted, clock)
        # Without a pause there would be a call for each token of an empty bucket. A small bucket must not
        # overflow meanwhile.
        wait_s = min(MIN_WAIT_S, burst / rate / 2) * (1 - granted / wanted)
        if granted < request.tokens:
            wait_s = max(bucket.wait_s(clock), wait_s)
        return granted, bucket.level(clock), wait_s

    def _grant_photos(self, entry: _Entry, request: LeaseRequest) -> tuple[int, int, date, datetime]:
        per_day = request.limit.photos_per_day
        if per_day is None:
            return request.photos, 0, date.min, _NO_DAY
        if entry.quota is None or entry.quota.time_zone != request.limit.time_zone:
            entry.quota = DailyQuota(request.limit.time_zone)
        quota = entry.quota
        left = quota.left(per_day, self.now())
        if request.returned_photos and request.day in (quota.day, date.min):
            quota.used = max(0, quota.used - request.returned_photos)
            left = quota.left(per_day, self.now())
        granted = 0
        if request.photos:
            spare = left // (4 * max(1, len(self._last_call_of)))
            lease = min(MAX_PHOTO_LEASE, per_day // 200, spare)
            granted = min(left, max(request.photos, lease))
        quota.used += granted
        self.num_changes += bool(granted or request.returned_photos)
        return granted, left - granted, quota.day, quota.reset_time()
