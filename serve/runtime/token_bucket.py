"""Token bucket and daily quota, without Ray and without a clock."""

import math
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

_ROUNDING = 1e-9  # of sums of refills
_ONE_DAY = timedelta(days=1)


class TokenBucket:
    """Hold at most ``burst`` tokens and refill ``rate`` of them per second.

    In any time of t seconds at most rate * t + burst tokens are taken, net of those given back.

    Args:
        now: seconds on the clock of all later calls.
        level: tokens at the start; ``burst`` if None.
    """

    def __init__(self, rate: float, burst: float, *, now: float, level: float | None = None) -> None:
        self.rate = rate
        self.burst = burst
        self._level = burst if level is None else min(level, burst)
        self._updated = now

    def configure(self, rate: float, burst: float, now: float) -> None:
        """Change the limit; tokens above the new burst are lost."""
        self._level = min(self.level(now), burst)
        self.rate, self.burst = rate, burst

    def level(self, now: float) -> float:
        """Refill the bucket and return its tokens."""
        if now > self._updated:
            self._level = min(self.burst, self._level + self.rate * (now - self._updated))
            self._updated = now
        return self._level

    def take(self, wanted: int, now: float) -> int:
        """Take up to ``wanted`` whole tokens; return their number."""
        taken = max(0, min(wanted, math.floor(self.level(now) + _ROUNDING)))
        self._level -= taken
        return taken

    def give_back(self, tokens: float, now: float) -> None:
        """Return unused tokens; a negative number takes tokens that were used elsewhere."""
        self._level = max(0.0, min(self.burst, self.level(now) + tokens))

    def wait_s(self, now: float, tokens: float = 1) -> float:
        """Return the seconds until the bucket holds ``tokens``, if none are taken."""
        return max(0.0, (tokens - self.level(now)) / self.rate)


class DailyQuota:
    """Count photos of one calendar day in a time zone.

    Args:
        used: photos counted before, on ``day``.
    """

    def __init__(self, time_zone: str, *, day: date | None = None, used: int = 0) -> None:
        self.time_zone = time_zone
        self.used = used
        self.day = day or date.min

    def left(self, per_day: int, now: datetime) -> int:
        """Return the photos that are left today."""
        return max(0, per_day - self.used_today(now))

    def used_today(self, now: datetime) -> int:
        """Return the photos counted today.

        A clock that is set back over midnight by up to a day does not reset the quota.
        """
        today = now.astimezone(ZoneInfo(self.time_zone)).date()
        if self.day not in (today, today + _ONE_DAY):
            self.day, self.used = today, 0
        return self.used

    def reset_time(self) -> datetime:
        """Return the start of the day after ``day``, in UTC."""
        return datetime.combine(self.day + _ONE_DAY, time(), ZoneInfo(self.time_zone)).astimezone(UTC)
