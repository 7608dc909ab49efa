"""Batches: what waits is computed together, one batch after the other, in a thread of its own.

Serve's own batching closes a batch as soon as its first item has waited ``batch_wait_timeout_s``, also while
another batch computes: without a wait a flood goes through one by one, with a wait a lonely request pays it.
Here a batch is closed at the moment when the engine is free for it.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from serve import metrics

STUCK_AFTER_S = 30.0
"""A batch that computes for longer is taken for stuck; far above what a full one takes on a busy laptop."""

_Q = TypeVar("_Q")
_A = TypeVar("_A")


class StuckError(RuntimeError):
    """The engine does not answer any more; only a new replica helps."""


@dataclass
class _Job:
    """One question that waits, or a ping: the engine is only asked whether it works."""

    question: Any = None
    size: int = 0
    is_ping: bool = False
    answer: Future[Any] = field(default_factory=Future)


class Batches(Generic[_Q, _A]):
    """Answers questions in batches.

    A question whose caller has gone is dropped before it is computed. ``compute`` and ``ping`` run in one
    thread, so never at the same time.

    Args:
        compute: answers a list of questions by a list of as many answers, in the same order.
        ping: raises if the engine does not work.
        max_size: how much goes into a batch; a question that is larger has a batch of its own.
        size_of: how much a question counts.
        stuck_after_s: how long one batch may compute before the engine counts as stuck.
    """

    def __init__(
        self,
        compute: Callable[[list[_Q]], Sequence[_A]],
        ping: Callable[[], object],
        *,
        max_size: int,
        size_of: Callable[[_Q], int] = lambda _: 1,
        stuck_after_s: float = STUCK_AFTER_S,
    ) -> None:
        self._compute = compute
        self._ping = ping
        self._max_size = max_size
        self._size_of = size_of
        self._stuck_after_s = stuck_after_s
        self._waiting: deque[_Job] = deque()
        self._arrival = threading.Condition()
        self._began: float | None = None
        self._last_failed = False
        threading.Thread(target=self._work, name="batches", daemon=True).start()

    async def ask(self, question: _Q) -> _A:
        """Wait for the answer to one question; an error of ``compute`` reaches everyone in the batch.

        Raises:
            ValueError: ``compute`` gave more or fewer answers than there were questions.
        """
        return await self._queue(_Job(question, self._size_of(question)))

    async def prove(self) -> None:
        """Prove that the engine works: it is computing, not for too long, or it answers a ping.

        Raises:
            StuckError: it does neither.
        """
        began = self._began
        if began is not None and not self._last_failed:
            if time.monotonic() - began > self._stuck_after_s:
                raise StuckError(f"a batch has been computing for more than {self._stuck_after_s:g} s")
            return
        try:
            async with asyncio.timeout(self._stuck_after_s):
                await self._queue(_Job(is_ping=True))
        except TimeoutError as error:
            raise StuckError(f"the engine answered no ping for {self._stuck_after_s:g} s") from error

    async def _queue(self, job: _Job) -> Any:
        with self._arrival:
            self._waiting.append(job)
            self._arrival.notify()
        return await asyncio.wrap_future(job.answer)  # a caller that leaves cancels what has not begun

    def _work(self) -> None:
        while True:
            jobs = self._next_jobs()
            questions = [job for job in jobs if not job.is_ping]
            pings = [job for job in jobs if job.is_ping]
            if questions:
                took_s = self._answer(questions, self._compute)
                try:
                    metrics.note_batch(sum(job.size for job in questions), took_s)
                except Exception:  # an engine that nobody counts still answers
                    logging.getLogger("skinserve").exception("a batch is missing in the metrics")
            if pings:
                self._answer(pings, lambda nothing: [self._ping()] * len(nothing))

    def _answer(self, jobs: list[_Job], work: Callable[[list[Any]], Sequence[Any]]) -> float:
        """Answer jobs of one kind, whatever the engine raises; return the seconds that it took."""
        self._began = began = time.monotonic()
        try:
            answers = work([job.question for job in jobs])
            pairs = list(zip(jobs, answers, strict=True))  # before anybody is answered
        except BaseException as error:  # the callers hear of it, and the thread goes on
            self._last_failed = True
            for job in jobs:
                job.answer.set_exception(_for_callers(error))
        else:
            self._last_failed = False
            for job, answer in pairs:
                job.answer.set_result(answer)
        self._began = None
        return time.monotonic() - began

    def _next_jobs(self) -> list[_Job]:
        """Wait for work, and take as much as makes a batch; who has gone is left out."""
        jobs: list[_Job] = []
        size = 0
        with self._arrival:
            while not jobs:
                self._arrival.wait_for(lambda: self._waiting)
                while self._waiting and (not size or size + self._waiting[0].size <= self._max_size):
                    job = self._waiting.popleft()
                    if job.answer.set_running_or_notify_cancel():
                        jobs.append(job)
                        size += job.size
        return jobs


def _for_callers(error: BaseException) -> Exception:
    """Wrap what would end their event loop, and ``StopIteration``, which their futures refuse."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError(f"the engine raised {error!r}")
    wrapped.__cause__ = error
    return wrapped
