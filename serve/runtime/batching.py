"""Dynamic batching: items that wait are computed together, in threads of their own.

``ray.serve.batch`` closes a batch when its first item has waited ``batch_wait_timeout_s``, even while another
batch is computed. Without a wait, an overload is computed item by item; with a wait, a single client is slow.
Here a batch is closed when a thread becomes free.

On several cores, each computes a batch of its own: threads that share a batch synchronize after every layer,
and all wait when another process takes the core of one (docs/decisions/0010-one-batch-per-core.md). Only an
item that is alone uses all cores.
"""

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, TypeVar

from serve.runtime import metrics
from serve.runtime.threads import ONE_THREAD, ComputeThreads

STUCK_AFTER_S = 30.0
"""Far above the time of a full batch on a busy laptop."""

_I = TypeVar("_I")
_R = TypeVar("_R")


class EngineStuckError(RuntimeError):
    """Report that a batch does not end; only a new replica helps."""


@dataclass(eq=False)
class _Job:
    """Hold one waiting item, or a ping, which runs without a batch."""

    batcher: "DynamicBatcher[Any, Any]"
    item: Any = None
    size: int = 0
    is_ping: bool = False
    result: Future[Any] = field(default_factory=Future)


class BatchThreads:
    """Run the batches of one or several batchers, oldest item first.

    All models of a replica share its threads. Threads of their own would compete for the cores, and have more
    OpenMP helper threads than cores (docs/decisions/0012-openmp-threads.md). The threads never end.
    """

    def __init__(self, threads: ComputeThreads = ONE_THREAD) -> None:
        self.number = threads.number
        self.arrival = threading.Condition()
        self._threads = threads
        self._queue: deque[_Job] = deque()
        self._running: dict[int, tuple[float, DynamicBatcher[Any, Any]]] = {}
        """Start and batcher of the batch of each busy thread; guarded by ``arrival``."""
        for index in range(threads.number):
            threading.Thread(target=self._run, args=(index,), name=f"batcher-{index}", daemon=True).start()

    def put(self, job: _Job) -> None:
        """Queue one item."""
        with self.arrival:
            self._queue.append(job)
            self.arrival.notify_all()

    def oldest_start(self) -> float | None:
        """Return when the longest-running batch started; None if all threads are idle."""
        with self.arrival:
            return min((start for start, _ in self._running.values()), default=None)

    def _run(self, index: int) -> None:
        self._threads.lower_priority()
        while True:
            self._run_batch(index)  # a call, so that no local variable keeps an evicted model in memory

    def _run_batch(self, index: int) -> None:
        jobs, num_cores = self.next_batch(index)
        batcher = jobs[0].batcher
        self._threads.set_num_cores(num_cores)
        start = time.monotonic()
        results, error = batcher.compute_jobs(jobs)
        seconds = time.monotonic() - start
        with self.arrival:
            del self._running[index]
            batcher.last_failed = error is not None
            if batcher.exclusive:
                self.arrival.notify_all()
        for job, result in zip(jobs, results, strict=False):
            job.result.set_result(result)
        for job in jobs[len(results) :]:
            job.result.set_exception(error)
        try:
            if not jobs[0].is_ping:
                tags = {"network": batcher.network}
                metrics.batch_photos().observe(sum(job.size for job in jobs), tags)
                metrics.engine_seconds().observe(seconds, tags)
        except Exception:  # a thread must outlive an error of the metrics
            logging.getLogger("skinserve").exception("a batch is missing in the metrics")

    def next_batch(self, index: int) -> tuple[list[_Job], int]:
        """Wait for work; return this thread's share of it and the cores to use.

        Cancelled jobs are left out. A ping is never batched.
        """
        jobs: list[_Job] = []
        with self.arrival:
            while not jobs:
                self.arrival.wait_for(lambda: self._has_work(index))
                jobs = self._take_jobs(next(self._ready_jobs()).batcher)
            alone = index == 0 and len(jobs) == 1 and not self._queue and not self._running
            self._running[index] = time.monotonic(), jobs[0].batcher
        return jobs, self.number if alone else 1

    def _has_work(self, index: int) -> bool:
        """Return whether a thread has work; the first gets a single job (``load_in_throwaway_thread``)."""
        left_to_first = index > 0 and 0 not in self._running
        return sum(1 for _ in islice(self._ready_jobs(), 2)) > left_to_first

    def _ready_jobs(self) -> Iterator[_Job]:
        """Yield the waiting jobs, except those of an exclusive batcher whose batch is being computed."""
        busy = {id(batcher) for _, batcher in self._running.values() if batcher.exclusive}
        return (job for job in self._queue if id(job.batcher) not in busy)

    def _take_jobs(self, batcher: "DynamicBatcher[Any, Any]") -> list[_Job]:
        """Remove one batch of a batcher from the queue."""
        waiting = [job for job in self._queue if job.batcher is batcher]
        num_threads = 1 if batcher.exclusive else self.number - len(self._running)
        share = min(batcher.max_size, math.ceil(sum(job.size for job in waiting) / num_threads))
        jobs: list[_Job] = []
        size = 0
        for job in waiting:
            if size and size + job.size > share:
                break
            if jobs and (job.is_ping or jobs[0].is_ping):
                break
            self._queue.remove(job)
            if job.result.set_running_or_notify_cancel():
                jobs.append(job)
                size += job.size
        return jobs


class DynamicBatcher(Generic[_I, _R]):
    """Compute queued items of one model in batches; drop items of cancelled callers.

    Args:
        compute: returns one result per item, in the same order; runs in all ``threads`` at once.
        ping: raises if the engine does not work; never runs beside a batch in the same thread.
        max_size: size of the batches of all threads together; a larger item is a batch by itself.
        size_of: size of an item.
        threads: what ``compute`` runs in, shared with other batchers.
        exclusive: ``compute`` and ``ping`` run in one thread at a time.
        network: name in the metrics.
        stuck_after_s: time after which a batch counts as stuck.
    """

    def __init__(
        self,
        compute: Callable[[list[_I]], Sequence[_R]],
        ping: Callable[[], object],
        *,
        max_size: int,
        size_of: Callable[[_I], int] = lambda _: 1,
        threads: BatchThreads | None = None,
        exclusive: bool = False,
        network: str = "",
        stuck_after_s: float = STUCK_AFTER_S,
    ) -> None:
        self._threads = threads or BatchThreads()
        self.exclusive = exclusive
        self.network = network
        self.max_size = math.ceil(max_size / (1 if exclusive else self._threads.number))
        self.last_failed = False
        self._compute = compute
        self._ping = ping
        self._size_of = size_of
        self._stuck_after_s = stuck_after_s

    async def submit(self, item: _I) -> _R:
        """Return the result of one item; an error of ``compute`` fails the whole batch.

        Raises:
            ValueError: ``compute`` returned more or fewer results than items.
        """
        return await self._wait_for(_Job(self, item, self._size_of(item)))

    async def check_alive(self) -> None:
        """Raise unless a batch is being computed, not for too long, or the engine answers a ping.

        Raises:
            EngineStuckError: a batch or the ping takes longer than ``stuck_after_s``.
        """
        started_at = self._threads.oldest_start()
        if started_at is not None and time.monotonic() - started_at > self._stuck_after_s:
            raise EngineStuckError(f"a batch has been running for more than {self._stuck_after_s:g} s")
        if started_at is not None and not self.last_failed:
            return
        try:
            async with asyncio.timeout(self._stuck_after_s):
                await self._wait_for(_Job(self, is_ping=True))
        except TimeoutError as error:
            raise EngineStuckError(f"the engine answered no ping for {self._stuck_after_s:g} s") from error

    async def _wait_for(self, job: _Job) -> Any:
        self._threads.put(job)
        return await asyncio.wrap_future(job.result)  # cancelling it cancels a job that has not started

    def compute_jobs(self, jobs: list[_Job]) -> tuple[Sequence[Any], Exception | None]:
        """Return a result for each job, or none and the error."""
        try:
            if jobs[0].is_ping:
                return [self._ping()], None
            results = self._compute([job.item for job in jobs])
            if len(results) != len(jobs):
                raise ValueError(f"the engine returned {len(results)} results for {len(jobs)} items")
            return results, None
        except BaseException as error:  # callers get it, and the thread goes on
            return [], _as_exception(error)


def _as_exception(error: BaseException) -> Exception:
    """Wrap an error that would end the callers' event loop, or that a future rejects (``StopIteration``)."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError(f"the engine raised {error!r}")
    wrapped.__cause__ = error
    return wrapped
