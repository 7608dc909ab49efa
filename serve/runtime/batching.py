"""DynamicBatcher: what waits is computed together, in threads of their own.

Serve's own batching closes a batch as soon as its first item has waited ``batch_wait_timeout_s``, also while
another batch computes: without a wait a flood goes through one by one, with a wait a lonely request pays it.
Here a batch is closed at the moment when the engine is free for it.

On several cores, a batch computes on each. Threads that share one batch meet after every layer, and all wait
when another process takes the core of one (docs/decisions/0010-one-batch-per-core.md); only a question that
is alone gets them all.
"""

import asyncio
import contextlib
import logging
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from serve.runtime import metrics

COMPUTE_NICENESS = 5
"""On a CPU, below who answers the door, so that a flood of refusals does not wait for photos that compute
(docs/decisions/0010-one-batch-per-core.md says what was measured)."""
STUCK_AFTER_S = 30.0
"""A batch that computes for longer is taken for stuck; far above what a full one takes on a busy laptop."""

_Q = TypeVar("_Q")
_A = TypeVar("_A")


class EngineStuckError(RuntimeError):
    """The engine does not answer any more; only a new replica helps."""


@dataclass
class _Job:
    """One question that waits, or a ping: the engine is only asked whether it works."""

    question: Any = None
    size: int = 0
    is_ping: bool = False
    answer: Future[Any] = field(default_factory=Future)


@dataclass(frozen=True)
class Cores:
    """What batches are computed on."""

    number: int = 1
    """Each has a thread that computes."""
    use: Callable[[int], object] = lambda _: None
    """Called in such a thread before it computes, with the number of cores that it may use."""
    niceness: int = 0
    """By which these threads stand behind others; on Linux, where each thread has its own."""

    def lower_priority(self) -> None:
        """Make the calling thread nicer; where the system refuses, it stays as it is."""
        if not self.niceness or sys.platform != "linux":
            return
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):
            own = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, min(19, own + self.niceness))


def compute_threads(device: str, num_threads: int) -> Cores:
    """Return what PyTorch computes on: one thread feeds a GPU, ``num_threads`` share a CPU."""
    if device != "cpu":
        return Cores()
    import torch  # not above: tests of batches do without

    return Cores(num_threads, torch.set_num_threads, COMPUTE_NICENESS)


class _Engine(Protocol):
    def ping(self) -> object: ...


_E = TypeVar("_E", bound=_Engine)


def load_in_throwaway_thread(load: Callable[[], _E]) -> _E:
    """Load an engine and let it answer a ping, in a thread that then ends.

    A thread that computed on several cores keeps its helpers for as long as it lives. When a process has more
    of both than there are cores, OpenMP lets them sleep after every layer, and a lonely question takes longer
    (docs/decisions/0012-openmp-threads.md). So only the first thread of
    ``DynamicBatcher`` may have any.
    """

    def load_and_ping() -> _E:
        engine = load()
        engine.ping()
        return engine

    with ThreadPoolExecutor(1, thread_name_prefix="load") as thread:
        return thread.submit(load_and_ping).result()


class DynamicBatcher(Generic[_Q, _A]):
    """Answers questions in batches.

    A question whose caller has gone is dropped before it is computed.

    Args:
        compute: answers a list of questions by a list of as many answers, in the same order; runs in
            a thread for each of the ``cores`` at once.
        ping: raises if the engine does not work; runs beside no batch of the same thread.
        max_size: how much is computed at once by all threads; a question that is larger has a batch of its
            own.
        size_of: how much a question counts.
        cores: what ``compute`` runs on.
        stuck_after_s: how long one batch may compute before the engine counts as stuck.
    """

    def __init__(
        self,
        compute: Callable[[list[_Q]], Sequence[_A]],
        ping: Callable[[], object],
        *,
        max_size: int,
        size_of: Callable[[_Q], int] = lambda _: 1,
        cores: Cores = Cores(),
        stuck_after_s: float = STUCK_AFTER_S,
    ) -> None:
        self._compute = compute
        self._ping = ping
        self._max_size = math.ceil(max_size / cores.number)
        self._size_of = size_of
        self._cores = cores
        self._stuck_after_s = stuck_after_s
        self._waiting: deque[_Job] = deque()
        self._arrival = threading.Condition()
        self._began: dict[int, float] = {}
        """When each thread that computes began; changed under ``_arrival``."""
        self._last_failed = False
        for number in range(cores.number):
            threading.Thread(target=self._work, args=(number,), name=f"batches-{number}", daemon=True).start()

    async def submit(self, question: _Q) -> _A:
        """Wait for the answer to one question; an error of ``compute`` reaches everyone in the batch.

        Raises:
            ValueError: ``compute`` gave more or fewer answers than there were questions.
        """
        return await self._queue(_Job(question, self._size_of(question)))

    async def check_alive(self) -> None:
        """Prove that the engine works: it is computing, not for too long, or it answers a ping.

        Raises:
            EngineStuckError: it does neither.
        """
        with self._arrival:
            began = min(self._began.values(), default=None)
        if began is not None and time.monotonic() - began > self._stuck_after_s:
            raise EngineStuckError(f"a batch has been computing for more than {self._stuck_after_s:g} s")
        if began is not None and not self._last_failed:
            return
        try:
            async with asyncio.timeout(self._stuck_after_s):
                await self._queue(_Job(is_ping=True))
        except TimeoutError as error:
            raise EngineStuckError(f"the engine answered no ping for {self._stuck_after_s:g} s") from error

    async def _queue(self, job: _Job) -> Any:
        with self._arrival:
            self._waiting.append(job)
            self._arrival.notify_all()
        return await asyncio.wrap_future(job.answer)  # a caller that leaves cancels what has not begun

    def _work(self, number: int) -> None:
        self._cores.lower_priority()
        while True:
            jobs, num_cores = self._next_jobs(number)
            self._cores.use(num_cores)
            began = time.monotonic()
            answers, error = self._computed(jobs)
            took_s = time.monotonic() - began
            with self._arrival:
                del self._began[number]
                self._last_failed = error is not None
            for job, answer in zip(jobs, answers, strict=False):
                job.answer.set_result(answer)
            for job in jobs[len(answers) :]:
                job.answer.set_exception(error)
            try:
                metrics.record_batch(sum(job.size for job in jobs), took_s)
            except Exception:  # an engine that nobody counts still answers
                logging.getLogger("skinserve").exception("a batch is missing in the metrics")

    def _computed(self, jobs: list[_Job]) -> tuple[Sequence[Any], Exception | None]:
        """Return an answer for each job, or none and why, whatever the engine raises."""
        try:
            if jobs[0].is_ping:
                return [self._ping()], None
            answers = self._compute([job.question for job in jobs])
            if len(answers) != len(jobs):
                raise ValueError(f"the engine gave {len(answers)} answers to {len(jobs)} questions")
            return answers, None
        except BaseException as error:  # the callers hear of it, and the thread goes on
            return [], _for_callers(error)

    def _next_jobs(self, number: int) -> tuple[list[_Job], int]:
        """Wait for work, and take this thread's share of it and the cores to compute it on.

        Who has gone is left out; a ping goes alone.
        """
        jobs: list[_Job] = []
        size = 0
        with self._arrival:
            while not jobs:
                self._arrival.wait_for(lambda: self._has_work(number))
                num_idle = self._cores.number - len(self._began)
                share = min(self._max_size, math.ceil(sum(job.size for job in self._waiting) / num_idle))
                while self._waiting and (not size or size + self._waiting[0].size <= share):
                    if jobs and (self._waiting[0].is_ping or jobs[0].is_ping):
                        break
                    job = self._waiting.popleft()
                    if job.answer.set_running_or_notify_cancel():
                        jobs.append(job)
                        size += job.size
            alone = number == 0 and len(jobs) == 1 and not self._waiting and not self._began
            self._began[number] = time.monotonic()
        return jobs, self._cores.number if alone else 1

    def _has_work(self, number: int) -> bool:
        """Return whether a thread has work; the first gets a single item (``load_in_throwaway_thread``)."""
        left_to_first = number > 0 and 0 not in self._began
        return len(self._waiting) > left_to_first


def _for_callers(error: BaseException) -> Exception:
    """Wrap what would end their event loop, and ``StopIteration``, which their futures refuse."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError(f"the engine raised {error!r}")
    wrapped.__cause__ = error
    return wrapped
