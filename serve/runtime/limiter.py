"""How much of one kind of work a gateway takes on at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from serve.runtime.errors import QueueFullError, overloaded


class AdaptiveLimiter:
    """AdaptiveLimiter for photos on their way to a stage; who finds none is refused at once.

    They become a tenth fewer when the stage's own queue is full, and more again as it answers: a gateway
    knows neither how many replicas a stage has nor how many gateways share them. Of many refusals at once
    the first counts: the others were let in before it made the places fewer, and say nothing new.

    Args:
        most: how many places there are at best.
        what: what takes them, for the message.
    """

    def __init__(self, most: int, what: str, *, retry_after_s: int) -> None:
        self._most = most
        self._what = what
        self._retry_after_s = retry_after_s
        self.limit = float(most)
        """How many there are at present."""
        self._taken = 0
        self._num_lowered = 0

    def check(self, number: int = 1) -> None:
        """Refuse when ``number`` do not fit; whoever comes when all are free fits."""
        if self._taken and self._taken + number > self.limit:
            raise overloaded(f"the server has {self._taken} {self._what} in work", self._retry_after_s)

    @contextmanager
    def acquire(self, number: int = 1) -> Iterator[None]:
        """Hold ``number`` places as long as the work takes.

        Raises:
            ApiError: ``overloaded``.
        """
        self.check(number)
        self._taken += number
        num_lowered = self._num_lowered
        try:
            yield
            self.limit = min(self._most, self.limit + number / self.limit)
        except QueueFullError:
            if num_lowered == self._num_lowered:
                self._num_lowered += 1
                self.limit = max(1.0, 0.9 * self.limit)
            raise
        finally:
            self._taken -= number
