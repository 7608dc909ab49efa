"""Score one part of a job in a gateway, at a lower priority than live requests."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import BaseModel

from models import storage
from models.images import PhotoError, photo_too_large
from models.storage_errors import MissingBucketError, MissingError, StorageError
from models.storage_folders import iter_regular_files
from serve.jobs.config import JobsConfig
from serve.jobs.live_priority import LivePriority
from serve.jobs.records import PartItem
from serve.jobs.schemas import JobRow
from serve.jobs.store import JobStore
from serve.runtime import metrics
from serve.runtime.admission import AdaptiveLimiter
from serve.runtime.errors import STATUS, ApiError, error_detail
from serve.runtime.model_catalog import CatalogEntry, ModelCatalog
from serve.schemas import ErrorDetail

ScorePhoto = Callable[[Any, bytes, CatalogEntry], Awaitable[BaseModel]]
"""Service of the task, photo and model."""
logger = logging.getLogger("skinserve")


@dataclass(frozen=True, kw_only=True)
class JobTask:
    """How a task scores the photos of jobs.

    Attributes:
        score: answers one photo; waits while the replicas are overloaded. Raises ``PhotoError`` or
            ``ApiError``.
    """

    score: ScorePhoto


@dataclass(frozen=True, kw_only=True)
class PartRequest:
    """Photos to score: all of a part, or one.

    Attributes:
        model: ``name@version``.
        item: position of the only photo in its part; None: all.
    """

    job: str
    task: str
    model: str
    part: int
    item: int | None = None


@dataclass(frozen=True, kw_only=True)
class ScoredPart:
    """NDJSON rows in the order of the photos."""

    rows: bytes
    num_rows: int
    num_errors: int


@dataclass(frozen=True, kw_only=True)
class PartFailure:
    """Why no photo of a part can be scored now; an exception would write a traceback into the log."""

    reason: str


class PartScorer:
    """Read, decode and classify the photos of parts.

    Args:
        services: of the tasks with jobs, by name.
        catalogs: of the same tasks.
        limiters: of live requests, which go first.
    """

    def __init__(
        self,
        config: JobsConfig,
        rules: Mapping[str, JobTask],
        services: Mapping[str, Any],
        catalogs: Mapping[str, ModelCatalog],
        limiters: Iterable[AdaptiveLimiter],
        *,
        max_photo_bytes: int,
    ) -> None:
        self._store = JobStore(config.folder)
        self._rules = rules
        self._services = services
        self._catalogs = catalogs
        self._priority = LivePriority(limiters)
        self._max_photo_bytes = max_photo_bytes
        self._photos = asyncio.Semaphore(config.max_concurrent_photos_per_gateway)
        self._threads = ThreadPoolExecutor(
            config.max_concurrent_photos_per_gateway, thread_name_prefix="jobs"
        )

    async def score(self, request: PartRequest) -> ScoredPart | PartFailure:
        """Return the rows of a part, or why it cannot be scored now."""
        entry = self._catalogs[request.task].find(request.model) if request.task in self._catalogs else None
        if entry is None:
            return PartFailure(reason=f"the model {request.model} of the job is no longer served")
        rows: list[asyncio.Task[JobRow]] = []
        try:
            part, data = await self._run(self._store.read_part, request.job, request.part)
            numbers = range(len(part.items)) if request.item is None else [request.item]
            score = partial(self._rules[request.task].score, self._services[request.task])

            def start(number: int) -> asyncio.Task[JobRow]:
                row = self._row(request, part.first_index + number, part.items[number], data, entry, score)
                rows.append(asyncio.create_task(row))
                return rows[-1]

            scored = await asyncio.gather(*map(start, numbers))
            missing = {
                number: place
                for place, (number, row) in enumerate(zip(numbers, scored, strict=True))
                if row.error is not None and row.error.code == "not_found"
            }
            if missing:
                await self._run(self._check_source, request.job)
                again = await asyncio.gather(*map(start, missing))  # it may have been mounted meanwhile
                for place, row in zip(missing.values(), again, strict=True):
                    scored[place] = row
            for row in scored:
                if row.error is not None:
                    metrics.errors().inc(tags={"code": row.error.code})
            return _scored(scored)
        except StorageError as error:
            logger.error("job %s: %s", request.job, error)
            return PartFailure(reason="photos of the job cannot be read")
        except ApiError as error:
            return PartFailure(reason=str(error))
        finally:
            for row in rows:
                row.cancel()

    async def _row(
        self,
        request: PartRequest,
        index: int,
        item: PartItem,
        data: bytes,
        entry: CatalogEntry,
        score: Callable[[bytes, CatalogEntry], Awaitable[BaseModel]],
    ) -> JobRow:
        """Score one photo.

        Raises:
            StorageError: the source cannot be read now.
            ApiError: the server cannot answer now.
        """
        error = item.error
        if error is None:
            try:
                async with self._photos:
                    await self._priority.wait()
                    result = await score(await self._read(item, data), entry)
                return JobRow(index=index, name=item.name, result=result)
            except PhotoError as rejected:
                error = error_detail(rejected)
            except MissingError:
                message = (
                    "the photo was removed from the source before it was scored; add it and start a new job"
                )
                error = ErrorDetail(code="not_found", message=message)
            except StorageError:
                raise
            except ApiError as rejected:
                if STATUS[rejected.code] >= 500:
                    raise
                error = error_detail(rejected)
            except Exception:
                logger.exception("job %s failed on photo %d", request.job, index)
                error = internal(request.job)
        return JobRow(index=index, name=item.name, error=error)

    async def _read(self, item: PartItem, data: bytes) -> bytes:
        if item.address is None:
            return data[item.offset : item.offset + item.size]
        try:
            photo = await self._run(_read_file, item.address, self._max_photo_bytes)
        except StorageError as error:
            if isinstance(error, MissingError) and not isinstance(error, MissingBucketError):
                raise
            # Names of photos are not logged
            raise StorageError(str(error).replace(item.address, "a photo of the source")) from None
        if len(photo) > self._max_photo_bytes:
            raise photo_too_large(item.size, self._max_photo_bytes)
        return photo

    def _check_source(self, job: str) -> None:
        """Check that photos are missing one by one; raise StorageError if the whole source is."""
        source = self._store.read_record(job).source
        if source is not None and next(iter_regular_files(source.rstrip("/")), None) is None:
            raise StorageError(f"{source} has no files any more; mount or restore it")

    async def _run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.wrap_future(self._threads.submit(work, *arguments))


def internal(job: str) -> ErrorDetail:
    """Return the error of a photo on which the server failed."""
    message = f"the server failed on this photo; report it with the id of the job {job}"
    return ErrorDetail(code="internal", message=message)


def _read_file(address: str, max_bytes: int) -> bytes:
    if not storage.is_remote(address) and os.path.realpath(address) != address:
        raise MissingError(f"{address} has become a link")
    return storage.read_bytes(address, max_bytes=max_bytes)


def _scored(rows: Sequence[JobRow]) -> ScoredPart:
    lines = [
        row.model_dump_json(exclude={"error"} if row.error is None else {"result"}).encode() + b"\n"
        for row in rows
    ]
    num_errors = sum(row.error is not None for row in rows)
    return ScoredPart(rows=b"".join(lines), num_rows=len(rows), num_errors=num_errors)
