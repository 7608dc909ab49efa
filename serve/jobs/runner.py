"""Run the queue of jobs: start, resume, retry, delete, and send webhooks.

Plain asyncio; Ray only exports the metrics. One runner writes the state of all jobs.
``serve.jobs.actor`` runs it in an actor.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from models.limits import MAX_DEADLINE_S
from models.storage_errors import MissingError, StorageError
from serve.jobs.cancellation import run_to_end
from serve.jobs.config import JobsConfig
from serve.jobs.deliveries import Deliveries
from serve.jobs.job_work import Gateways, JobFailedError, JobScorer
from serve.jobs.metrics import JobMetrics
from serve.jobs.records import JobRecord
from serve.jobs.store import DamagedJobError, JobStore, age_of
from serve.schemas import ErrorCode, ErrorDetail

SWEEP_S = 30.0
"""Pause between two looks at the store, which find jobs of gateways that could not report them."""
REPORT_S = 5.0
"""Ray forgets a gauge that was not set for 20 s."""
RESERVED_S = 1.5 * MAX_DEADLINE_S
"""A job that was not added by then is dropped: its gateway has ended. Longer than any request."""
ORPHAN_AGE = timedelta(hours=1)
NUM_THREADS = 16
LOADS_AT_ONCE = 8
"""Records read at once. The other threads are left to webhooks and deletions."""
MAX_UNREADABLE = 10
"""Unreadable records in one sweep above which the sweep fails."""

_T = TypeVar("_T")
logger = logging.getLogger("skinserve")


class Rejection(NamedTuple):
    """Why a caller may not create a job now."""

    code: ErrorCode
    message: str


@dataclass
class Job:
    """One job in memory."""

    record: JobRecord
    task: asyncio.Task[None] | None = field(default=None, repr=False)
    is_deleted: bool = False
    is_counted: bool = False
    """Its end is in the metrics."""
    files: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    """Held while files are deleted, so that no record is written after it is deleted."""


class JobRunner:
    """Hold all jobs of a server, and work on some of them at once.

    Args:
        gateways: score parts.
        metrics: of the server.
        sweep_s: pause between two looks at the store.
    """

    def __init__(
        self, config: JobsConfig, gateways: Gateways, metrics: JobMetrics, *, sweep_s: float = SWEEP_S
    ) -> None:
        self.config = config
        self._store = JobStore(config.folder)
        self._sweep_s = sweep_s
        self._threads = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="jobs")
        self._jobs: dict[str, Job] = {}
        self._reserved: dict[str, tuple[str, float]] = {}
        self._damaged: set[str] = set()
        self._deleted: dict[str, float] = {}
        """When jobs were deleted, in the last hour: a late report does not bring one back."""
        self._work = JobScorer(config, self._store, gateways, self._threads, metrics)
        self._deliveries = Deliveries(config, self._store, self._threads, metrics)
        self._metrics = metrics
        self._sweeper: asyncio.Task[None] | None = None
        self._reporter: asyncio.Task[None] | None = None
        self._last_orphans = -float("inf")
        self._is_closed = False
        self.is_loaded = False
        """The jobs of the store are known."""

    def start(self) -> None:
        """Start the task that loads, resumes and expires jobs; call in an event loop."""
        if self._sweeper is None or self._sweeper.done():
            self._sweeper = asyncio.get_running_loop().create_task(self._sweep_forever())
            self._reporter = asyncio.get_running_loop().create_task(self._report_forever())

    async def close(self) -> None:
        """Stop; unfinished jobs are resumed by the next runner."""
        self._is_closed = True
        tasks = [self._sweeper, self._reporter, *(job.task for job in self._jobs.values())]
        running = [task for task in tasks if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, self._deliveries.close(), return_exceptions=True)
        self._threads.shutdown(wait=False)

    def is_idle(self) -> bool:
        """Return whether no job runs."""
        return not any(job.task for job in self._jobs.values())

    def reserve(self, id: str, caller: str) -> str | Rejection:
        """Reserve a new job; return its id, or why the caller may not create one. It may be repeated."""
        if id in self._reserved or id in self._jobs:
            return id
        config = self.config
        unfinished = [job.record.caller for job in self._jobs.values() if job.record.is_unfinished]
        unfinished += [name for name, _ in self._reserved.values()]
        num_stored = sum(job.record.caller == caller for job in self._jobs.values())
        if unfinished.count(caller) >= config.max_unfinished_per_caller:
            return Rejection(
                "rate_limited",
                f"{config.max_unfinished_per_caller} of your jobs are queued or running, the limit; wait for "
                "one or delete it",
            )
        if num_stored >= config.max_stored_per_caller:
            return Rejection(
                "rate_limited",
                f"{num_stored} of your jobs are stored, the limit; delete finished ones",
            )
        if len(unfinished) >= config.max_unfinished:
            return Rejection("overloaded", f"{len(unfinished)} jobs are queued, the limit; try again later")
        self._reserved[id] = caller, time.monotonic()
        return id

    async def release(self, id: str) -> None:
        """Drop a job that was reserved and not created, with its photos."""
        if id not in self._jobs and id not in self._deleted:
            self._reserved.pop(id, None)
            await self._log_errors(self._in_thread(self._store.delete, id))

    def add(self, record: JobRecord) -> None:
        """Queue a job whose record is stored; a known or deleted one is ignored."""
        self._reserved.pop(record.id, None)
        if record.id not in self._jobs and record.id not in self._deleted:
            self._jobs[record.id] = Job(record)
            self._start_jobs()

    async def delete(self, id: str) -> bool:
        """Cancel a job and delete its files; return whether it was known.

        Raises:
            StorageError: a file cannot be deleted; the job is deleted later.
        """
        job = self._jobs.get(id)
        if job is None:
            return id in self._deleted
        job.is_deleted = True
        if job.task is not None:
            job.task.cancel()
            await asyncio.wait({job.task})
        await self._deliveries.cancel(id)
        async with job.files:
            if id in self._deleted:  # by another call, meanwhile
                return True
            deleted = job.record.model_copy(update={"is_deleted": True})
            with contextlib.suppress(StorageError):  # the disk may be full, and a deletion frees it
                await self._in_thread(self._store.write_record, deleted)
            await self._in_thread(self._store.delete, id)
            self._jobs.pop(id, None)
            self._deleted[id] = time.monotonic()
        self._count_ended(job, "deleted")
        self._count_unfinished()
        return True

    def records(self, caller: str | None, limit: int) -> list[JobRecord]:
        """Return the newest jobs of a caller; None: of all."""
        found = [
            job.record
            for job in self._jobs.values()
            if not job.is_deleted and caller in (None, job.record.caller)
        ]
        return sorted(found, key=lambda record: record.created_at, reverse=True)[:limit]

    def _start_jobs(self) -> None:
        """Start queued jobs: resumed jobs first, then those of the callers with the fewest running jobs."""
        self._start_waiting()
        self._count_unfinished()

    def _start_waiting(self) -> None:
        while not self._is_closed:
            running = [job for job in self._jobs.values() if job.task is not None]
            waiting = [
                job
                for job in self._jobs.values()
                if job.task is None and job.record.is_unfinished and not job.is_deleted
            ]
            if not waiting or len(running) >= self.config.max_running_jobs:
                return
            callers = Counter(job.record.caller for job in running)
            job = min(
                waiting,
                key=lambda one: (
                    one.record.state == "queued",
                    callers[one.record.caller],
                    one.record.created_at,
                ),
            )
            job.task = asyncio.get_running_loop().create_task(self._run(job))

    def _count_ended(self, job: Job, state: str) -> None:
        if not job.is_counted:
            job.is_counted = True
            self._metrics.count_ended(state)

    def _count_unfinished(self) -> None:
        if self._is_closed:  # the next runner counts
            return
        unfinished = [job for job in self._jobs.values() if job.record.is_unfinished and not job.is_deleted]
        running = sum(job.task is not None for job in unfinished)
        self._metrics.set_unfinished(queued=len(unfinished) - running, running=running)

    async def _run(self, job: Job) -> None:
        try:
            end: dict[str, Any] = {"state": "done"}
            try:
                await self._work.score(job)
            except JobFailedError as error:
                logger.error("job %s failed: %s", job.record.id, error)
                end = {"state": "failed", "error": ErrorDetail(code=error.code, message=str(error))}
            except Exception:
                logger.exception("job %s failed", job.record.id)
                message = f"the server failed on this job; report it with its id {job.record.id}"
                end = {"state": "failed", "error": ErrorDetail(code="internal", message=message)}
            end |= {"finished_at": datetime.now(UTC)}
            job.record = job.record.model_copy(update=end)
            try:
                await self._work.save(job)
            except JobFailedError as error:
                logger.error("job %s: its end is not stored: %s", job.record.id, error)
            self._count_ended(job, job.record.state)
            await self._delete_photos(job)
            self._deliveries.start(job)
        finally:
            job.task = None
            asyncio.get_running_loop().call_soon(self._start_jobs)

    async def _delete_photos(self, job: Job) -> None:
        """Delete the photos of a finished job; the next sweep tries again."""
        async with job.files:
            if job.is_deleted:
                return
            try:
                await self._in_thread(self._store.delete_photos, job.record.id)
                job.record = job.record.model_copy(update={"has_photos": False})
                await self._in_thread(self._store.write_record, job.record)
            except StorageError as error:
                logger.error("job %s: the photos cannot be deleted yet: %s", job.record.id, error)

    async def _report_forever(self) -> None:
        while True:
            self._count_unfinished()
            await asyncio.sleep(REPORT_S)

    async def _sweep_forever(self) -> None:
        while True:
            try:
                await self._sweep()
            except StorageError as error:
                logger.error("jobs: %s", error)
            except Exception:
                logger.exception("jobs: the store cannot be read")
            await asyncio.sleep(self._sweep_s)

    async def _sweep(self) -> None:
        """Load new records, forget removed ones, and delete what has expired."""
        ids = await self._in_thread(self._store.record_ids)
        for id in ids & self._deleted.keys():  # written by a gateway or runner that ended meanwhile
            await self._in_thread(self._store.delete, id)
        await self._load_all(ids - self._jobs.keys() - self._damaged - self._deleted.keys())
        for id, job in list(self._jobs.items()):
            if id not in ids and job.task is None and age_of(id) > timedelta(minutes=1):
                del self._jobs[id]  # the operator has removed it
        self.is_loaded = True
        for job in list(self._jobs.values()):
            await self._tidy(job)
        now = time.monotonic()
        for id in [id for id, (_, at) in self._reserved.items() if at < now - RESERVED_S]:
            await self.release(id)
        if now > self._last_orphans + ORPHAN_AGE.total_seconds():
            self._last_orphans = now
            self._deleted = {
                id: at for id, at in self._deleted.items() if at > now - ORPHAN_AGE.total_seconds()
            }
            for id in await self._in_thread(self._store.ids_with_files) - ids - self._reserved.keys():
                if age_of(id) > ORPHAN_AGE and id not in self._jobs:
                    await self._in_thread(self._store.delete, id)
        self._start_jobs()

    async def _load_all(self, ids: Iterable[str]) -> None:
        """Load records; unreadable ones are retried in the next sweep.

        Raises:
            StorageError: more than ``MAX_UNREADABLE`` records cannot be read.
        """
        at_once = asyncio.Semaphore(LOADS_AT_ONCE)

        async def load(id: str) -> StorageError | None:
            async with at_once:
                return await self._load(id)

        errors = list(filter(None, await asyncio.gather(*map(load, ids))))
        if len(errors) > MAX_UNREADABLE:
            raise StorageError(f"{len(errors)} records cannot be read; the first: {errors[0]}")
        for error in errors:
            logger.error("jobs: %s", error)

    async def _load(self, id: str) -> StorageError | None:
        """Load one record; return why it cannot be read now."""
        try:
            record = await self._in_thread(self._store.read_record, id)
        except MissingError:
            return None
        except DamagedJobError as error:
            self._damaged.add(id)
            logger.error("jobs: %s", error)
            return None
        except StorageError as error:
            return error
        if id not in self._jobs and id not in self._deleted:
            self._reserved.pop(id, None)
            self._jobs[id] = Job(record, is_deleted=record.is_deleted, is_counted=not record.is_unfinished)
            if not (record.is_unfinished or record.is_deleted):
                self._deliveries.start(self._jobs[id])
        return None

    async def _tidy(self, job: Job) -> None:
        record = job.record
        if job.is_deleted or (
            record.finished_at is not None
            and datetime.now(UTC) > record.finished_at + timedelta(days=self.config.retention_days)
        ):
            await self._log_errors(self.delete(record.id))
        elif record.has_photos and not record.is_unfinished and job.task is None:
            await self._delete_photos(job)

    async def _log_errors(self, work: Any) -> None:
        try:
            await work
        except StorageError as error:
            logger.error("jobs: %s", error)

    async def _in_thread(self, work: Callable[..., _T], *arguments: Any) -> _T:
        return await run_to_end(self._threads, work, *arguments)
