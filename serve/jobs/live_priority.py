"""Let live requests of a gateway go before photos of jobs."""

import asyncio
import time
from collections.abc import Iterable

from serve.runtime.admission import AdaptiveLimiter

QUIET_S = 0.25
"""After a live request: the next one of the same client follows soon."""
TURN_S = 0.25
"""Between two photos of jobs under constant load of live requests."""
POLL_S = 0.02


class LivePriority:
    """Hold back photos of jobs while there are live requests; start one each ``TURN_S``, so that jobs end.

    Args:
        limiters: of live requests.
    """

    def __init__(self, limiters: Iterable[AdaptiveLimiter]) -> None:
        self._limiters = tuple(limiters)
        self._next_turn = 0.0

    async def wait(self) -> None:
        """Return when one photo may start."""
        while self._is_busy():
            now = time.monotonic()
            if now >= self._next_turn:
                self._next_turn = now + TURN_S
                return
            await asyncio.sleep(POLL_S)

    def _is_busy(self) -> bool:
        since = time.monotonic() - QUIET_S
        return any(limiter.in_use or limiter.last_released_at > since for limiter in self._limiters)
