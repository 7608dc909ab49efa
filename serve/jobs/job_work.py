"""Score the parts of one job on the gateways, with retries, and store their rows."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, TypeVar

from models.storage_errors import MissingBucketError, MissingError, StorageError
from serve.jobs.cancellation import run_to_end
from serve.jobs.config import JobsConfig
from serve.jobs.metrics import JobMetrics
from serve.jobs.schemas import JobRow
from serve.jobs.scorer import PartFailure, PartRequest, ScoredPart, internal
from serve.jobs.store import JobStore
from serve.schemas import ErrorCode

if TYPE_CHECKING:
    from serve.jobs.runner import Job

SAVE_INTERVAL_S = 2.0
"""Between two writes of the counts of a running job."""
FIRST_RETRY_S, LAST_RETRY_S = 0.5, 30.0
ALL_SLOTS_WAIT_S = 60.0
"""Longest wait of a suspect for all slots. No part can start during the wait."""
MAX_LOSSES = 2
"""Gateways that may end during a part, or during a photo that is scored alone, before it is suspected."""

_T = TypeVar("_T")
logger = logging.getLogger("skinserve")


class LostGatewayError(Exception):
    """A gateway ended while it scored a part."""


class JobFailedError(Exception):
    """A job cannot be completed.

    Args:
        code: for programs.
        message: for people.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: ErrorCode = code


class Gateways(Protocol):
    """The gateways of the server."""

    async def score(self, request: PartRequest) -> ScoredPart | PartFailure:
        """Score a part on any gateway.

        Raises:
            LostGatewayError: the gateway ended.
        """
        ...

    async def wait(self) -> None:
        """Wait until a gateway answers; raise LostGatewayError if it ends meanwhile."""
        ...


class JobScorer:
    """Score jobs; gateways score ``max_concurrent_parts`` parts of all jobs together at once."""

    def __init__(
        self,
        config: JobsConfig,
        store: JobStore,
        gateways: Gateways,
        threads: ThreadPoolExecutor,
        metrics: JobMetrics,
    ) -> None:
        self._config = config
        self._store = store
        self._gateways = gateways
        self._threads = threads
        self._metrics = metrics
        self._slots = asyncio.Semaphore(config.max_concurrent_parts)
        self._suspects = asyncio.Lock()

    async def score(self, job: Job) -> None:
        """Score all parts that have no rows yet.

        Raises:
            JobFailedError: photos or model could not be used for ``fail_after_s``.
        """
        pending = deque(await self._resume(job))
        progress = _Progress(job)
        await self.save(job)
        workers = [
            asyncio.create_task(self._score_parts(job, pending, progress))
            for _ in range(min(self._config.max_concurrent_parts, len(pending)))
        ]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def save(self, job: Job) -> None:
        """Write the record of a job; wait while the store cannot be written."""
        await self._until_stored(job, lambda: self._store.write_record(job.record))

    async def _resume(self, job: Job) -> list[int]:
        """Count the rows that are stored; return the numbers of the other parts."""
        record = job.record
        finished = await self._until_stored(job, lambda: self._store.finished_parts(record.id))
        num_scored = num_errors = 0
        for number in sorted(finished):
            rows = await self._until_stored(
                job, lambda number=number: self._store.read_rows(record.id, number)
            )
            lines = rows.splitlines()
            num_scored += len(lines)
            num_errors += sum(JobRow.model_validate_json(line).error is not None for line in lines)
        job.record = record.model_copy(
            update={
                "state": "running",
                "started_at": record.started_at or datetime.now(UTC),
                "num_scored": num_scored,
                "num_errors": num_errors,
            }
        )
        return [number for number in range(record.num_parts) if number not in finished]

    async def _score_parts(self, job: Job, pending: deque[int], progress: _Progress) -> None:
        while pending:
            number = pending.popleft()
            scored = await self._score_on_gateways(_request(job, number)) or await self._score_singly(
                job, number
            )
            await self._until_stored(
                job,
                lambda number=number, rows=scored.rows: self._store.write_rows(job.record.id, number, rows),
            )
            self._metrics.count_photos(num_rows=scored.num_rows, num_errors=scored.num_errors)
            if progress.add(scored):
                await self.save(job)

    async def _score_on_gateways(self, request: PartRequest) -> ScoredPart | None:
        """Score a part or one photo of it; None: ``MAX_LOSSES`` gateways ended during it.

        Raises:
            JobFailedError: it could not be scored for ``fail_after_s``.
        """
        losses, retry = 0, _Retry(self._config.fail_after_s)
        while losses < MAX_LOSSES:
            is_sent = False
            try:
                async with self._slot(request):  # pauses are outside: a failing job holds up no other
                    await self._gateways.wait()
                    is_sent = True
                    scored = await self._gateways.score(request)
            except TimeoutError:  # the slots of the other parts were not free in time
                await retry.pause()
                continue
            except LostGatewayError as error:
                if is_sent:
                    losses += 1
                    logger.warning("job %s: part %d is repeated: %s", request.job, request.part, error)
                await retry.pause()
                continue
            if isinstance(scored, ScoredPart):
                return scored
            await retry.fail(scored)
        return None

    @asynccontextmanager
    async def _slot(self, request: PartRequest) -> AsyncIterator[None]:
        """Acquire one slot for a part, or all slots for a suspect.

        No other part runs beside a suspect: its photos could end the gateway too.

        Raises:
            TimeoutError: the other parts have not ended within ``ALL_SLOTS_WAIT_S``.
        """
        if request.item is None:
            async with self._slots:
                yield
            return
        async with self._suspects, AsyncExitStack() as held:
            async with asyncio.timeout(ALL_SLOTS_WAIT_S):
                for _ in range(self._config.max_concurrent_parts):
                    await held.enter_async_context(self._slots)
            yield

    async def _score_singly(self, job: Job, number: int) -> ScoredPart:
        """Score photos one after the other; one of them may end the gateways."""
        part, _ = await self._until_stored(job, lambda: self._store.read_part(job.record.id, number))
        logger.warning("job %s: part %d is scored photo by photo", job.record.id, number)
        scored = [
            await self._score_on_gateways(_request(job, number, item)) for item in range(len(part.items))
        ]
        rows = [
            one.rows if one is not None else _lost_row(job, part.first_index + item, part.items[item].name)
            for item, one in enumerate(scored)
        ]
        num_errors = sum(1 if one is None else one.num_errors for one in scored)
        return ScoredPart(rows=b"".join(rows), num_rows=len(rows), num_errors=num_errors)

    async def _until_stored(self, job: Job, work: Callable[[], _T]) -> _T:
        """Run work on the store; repeat it while the store cannot be used.

        Raises:
            JobFailedError: a file of the job is missing.
        """
        delay_s, is_logged = FIRST_RETRY_S, False
        while True:
            try:
                return await run_to_end(self._threads, work)
            except MissingBucketError as error:
                problem: StorageError = error
            except MissingError as error:
                logger.error("job %s: %s", job.record.id, error)
                message = "files of the job were removed from the store; create the job again"
                raise JobFailedError("jobs_unavailable", message) from error
            except StorageError as error:
                problem = error
            if not is_logged:
                is_logged = True
                logger.error("job %s waits for its store: %s", job.record.id, problem)
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, LAST_RETRY_S)


class _Retry:
    """Pauses between attempts, and the time until a job fails."""

    def __init__(self, fail_after_s: float) -> None:
        self._fail_after_s = fail_after_s
        self._delay_s = FIRST_RETRY_S
        self._failing_since: float | None = None

    async def pause(self) -> None:
        """Wait before the next attempt."""
        await asyncio.sleep(self._delay_s)
        self._delay_s = min(2 * self._delay_s, LAST_RETRY_S)

    async def fail(self, failure: PartFailure) -> None:
        """Wait before the next attempt, or raise JobFailedError after ``fail_after_s``."""
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        if now - self._failing_since >= self._fail_after_s:
            raise JobFailedError(
                "jobs_unavailable",
                f"{failure.reason}, for {self._fail_after_s:g} s; the rows so far are stored. Correct the "
                "cause and create the job again",
            )
        await self.pause()


class _Progress:
    """Count rows of a running job in its record."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._began = self._saved = time.monotonic()
        self._num_scored = 0

    def add(self, scored: ScoredPart) -> bool:
        """Count a part; return whether the record should be written now."""
        now, record = time.monotonic(), self._job.record
        self._num_scored += scored.num_rows
        self._job.record = record.model_copy(
            update={
                "num_scored": record.num_scored + scored.num_rows,
                "num_errors": record.num_errors + scored.num_errors,
                "photos_per_s": self._num_scored / max(now - self._began, 1e-3),
            }
        )
        is_due = now >= self._saved + SAVE_INTERVAL_S
        if is_due:
            self._saved = now
        return is_due


def _request(job: Job, number: int, item: int | None = None) -> PartRequest:
    record = job.record
    return PartRequest(job=record.id, task=record.task, model=record.model, part=number, item=item)


def _lost_row(job: Job, index: int, name: str) -> bytes:
    row = JobRow(index=index, name=name, error=internal(job.record.id))
    return row.model_dump_json(exclude={"result"}).encode() + b"\n"
