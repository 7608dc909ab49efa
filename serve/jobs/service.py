"""Accept jobs in a gateway: check, store the photos in parts, and report to the actor of jobs."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, BinaryIO, TypeVar

from fastapi import Request

from models.storage import is_remote
from models.storage_errors import MissingError, StorageError, local_errors
from serve.jobs import parts, sources
from serve.jobs.archive import read_entries
from serve.jobs.archive_entry import ArchiveLimits
from serve.jobs.cancellation import StopEvent, run_to_end
from serve.jobs.client import Jobs
from serve.jobs.config import JobsConfig
from serve.jobs.records import JobRecord
from serve.jobs.runner import Rejection
from serve.jobs.schemas import Delivery
from serve.jobs.scorer import PartScorer
from serve.jobs.store import JobStore, is_id, new_id
from serve.jobs.webhook_addresses import WebhookError, check_literal, parse_url
from serve.runtime.admission import REQUEST_ID_HEADER, AdaptiveLimiter, request_slot
from serve.runtime.callers import Caller, caller_of
from serve.runtime.errors import ApiError, overloaded
from serve.runtime.rate_limits import count_photos, keep_photos
from serve.runtime.uploads import receive_pieces

MAX_NEW_JOBS_AT_ONCE = 4
"""Jobs that a gateway accepts at once."""
UPLOAD_BYTES = 60_000_000
"""Memory of one request: the part that is written, the photo that is read, and pieces of the body."""
BUFFER_BYTES = 1_000_000
NUM_THREADS = 8
RETRY_AFTER_S = 30
NOT_STORED = "the job cannot be stored now; nothing of it was stored; try again later"
NOT_READ = "the job cannot be read now; try again later"

_T = TypeVar("_T")
logger = logging.getLogger("skinserve")


class JobsService:
    """Create, read and delete jobs.

    Args:
        jobs: the actor, or a runner in this process.
        scorer: of the parts that this gateway scores.
    """

    def __init__(
        self,
        config: JobsConfig,
        jobs: Jobs,
        scorer: PartScorer,
        *,
        max_photo_bytes: int,
        retry_after_s: int,
    ) -> None:
        self.config = config
        self.jobs = jobs
        self.scorer = scorer
        self.limiter = AdaptiveLimiter(MAX_NEW_JOBS_AT_ONCE, "new jobs", retry_after_s=retry_after_s)
        self._limits = ArchiveLimits(max_photos=config.max_photos, max_photo_bytes=max_photo_bytes)
        self._retry_after_s = retry_after_s
        self._store = JobStore(config.folder)
        self._threads = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="new-jobs")
        self._background: set[asyncio.Task[Any]] = set()

    def check_webhook(self, url: str | None) -> Delivery | None:
        """Return the webhook of a new job; raise ``invalid_request``."""
        if url is None:
            return None
        if self.config.webhook_secret_file is None:
            raise ApiError(
                "invalid_request", "this server sends no webhooks; leave out the parameter webhook"
            )
        try:
            check_literal(parse_url(url), self.config.webhook_networks)
        except WebhookError as error:
            raise ApiError("invalid_request", f"query parameter webhook: {error}") from error
        return Delivery(url=url)

    async def create(
        self, request: Request, *, task: str, model: str, source: str | None, webhook: Delivery | None
    ) -> JobRecord:
        """Store the photos of an archive, or list those of a source, and queue the job.

        Args:
            source: None: the body is an archive.

        Raises:
            ApiError: of the archive, the source, a limit, or ``jobs_unavailable``.
        """
        with self.limiter.acquire():
            address = None
            if source is not None:
                address = await self._run(sources.check_source, source, self.config.sources)
            id = await self._reserve(caller_of(request.scope))
            try:
                written = await (
                    self._store_upload(request, id) if address is None else self._list_source(address, id)
                )
                if not written.num_photos:
                    found = "archive" if source is None else "source"
                    raise ApiError("invalid_request", f"the {found} has no photo; send one with photos")
                await count_photos(request, written.num_photos)
            except BaseException:
                self._in_background(self.jobs.release(id))
                raise
            record = JobRecord(
                id=id,
                caller=caller_of(request.scope).name,
                task=task,
                model=model,
                source=source,
                request_id=request.headers[REQUEST_ID_HEADER],
                created_at=datetime.now(UTC),
                num_photos=written.num_photos,
                num_parts=written.num_parts,
                webhook=webhook,
            )
            # From here on the job exists and counts, even after a disconnect or the deadline
            give_back = keep_photos(request)
            return await asyncio.shield(self._in_background(self._commit(record, give_back)))

    async def read(self, id: str, caller: Caller) -> JobRecord:
        """Return a job of a caller; ``admin`` reads all.

        Raises:
            ApiError: ``not_found`` or ``jobs_unavailable``.
        """
        missing = ApiError(
            "not_found", "there is no such job; it may have expired, been deleted, or belong to another key"
        )
        if not is_id(id):
            raise missing
        try:
            record = await self._run(self._store.read_record, id)
        except MissingError:
            raise missing from None
        except StorageError as error:
            raise self._unavailable(error, NOT_READ) from error
        if record.is_deleted or (record.caller != caller.name and "admin" not in caller.roles):
            raise missing
        return record

    async def rows(self, record: JobRecord, number: int) -> bytes | None:
        """Return the rows of a part; None: it is not finished."""
        try:
            return await self._run(self._store.read_rows, record.id, number)
        except MissingError:
            return None
        except StorageError as error:
            raise self._unavailable(error, NOT_READ) from error

    async def delete(self, id: str, caller: Caller) -> None:
        """Cancel a job of a caller and delete it.

        Raises:
            ApiError: ``not_found`` or ``jobs_unavailable``.
        """
        record = await self.read(id, caller)
        if not await self.jobs.delete(record.id):
            await self.jobs.add(record)  # stored by another gateway just now
            await self.jobs.delete(record.id)

    async def _reserve(self, caller: Caller) -> str:
        """Return the id of a new job; raise ApiError if the caller may not create one."""
        id = new_id()
        try:
            reserved = await self.jobs.reserve(id, caller.name)
        except BaseException:  # the reply may be lost
            self._in_background(self.jobs.release(id))
            raise
        if isinstance(reserved, Rejection):
            if reserved.code == "overloaded":
                raise overloaded(reserved.message, RETRY_AFTER_S)
            raise ApiError(reserved.code, reserved.message, {"Retry-After": str(RETRY_AFTER_S)})
        return id

    async def _store_upload(self, request: Request, id: str) -> parts.WrittenParts:
        slot = request_slot(request)
        slot.reserve_bytes(UPLOAD_BYTES)
        local = None if is_remote(self.config.folder) else self.config.folder
        stop = StopEvent()
        try:
            with await self._run(_open_scratch, local) as file:
                num_bytes = await self._receive(request, file)

                def write() -> parts.WrittenParts:
                    entries = read_entries(file, num_bytes, self._limits, stop)
                    return parts.write_uploaded(self._store, id, entries)

                return await run_to_end(self._threads, write, stop=stop)
        except StorageError as error:
            raise self._unavailable(error, NOT_STORED) from error

    async def _receive(self, request: Request, file: BinaryIO) -> int:
        """Write the body to a file; return its size."""
        num_bytes, buffer = 0, bytearray()
        async for piece in receive_pieces(request, max_bytes=self.config.max_archive_bytes):
            buffer += piece
            num_bytes += len(piece)
            if len(buffer) >= BUFFER_BYTES:
                await self._run(_write, file, bytes(buffer))
                buffer.clear()
        await self._run(_write, file, bytes(buffer))
        if not num_bytes:
            raise ApiError("invalid_request", "the body is empty; send an archive, or JSON with a source")
        return num_bytes

    async def _list_source(self, address: str, id: str) -> parts.WrittenParts:
        stop = StopEvent()
        photos = sources.list_photos(address, self._limits, stop)
        try:
            return await self._run(parts.write_listed, self._store, id, photos, stop)
        except asyncio.CancelledError:
            stop.set()
            raise
        except StorageError as error:
            raise self._unavailable(error, NOT_STORED) from error

    async def _commit(self, record: JobRecord, give_back: Callable[[], None]) -> JobRecord:
        try:
            await self._run(self._store.write_record, record)
        except StorageError as error:
            give_back()
            await self.jobs.release(record.id)
            raise self._unavailable(error, NOT_STORED) from error
        await self.jobs.add(record)
        return record

    async def _run(self, work: Callable[..., _T], *arguments: Any) -> _T:
        return await asyncio.wrap_future(self._threads.submit(work, *arguments))

    def _in_background(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    def _unavailable(self, error: StorageError, message: str) -> ApiError:
        logger.error("jobs: %s", error)
        return ApiError("jobs_unavailable", message, {"Retry-After": str(RETRY_AFTER_S)})


def _open_scratch(folder: str | None) -> BinaryIO:
    """Open a file without a name, which the end of the process removes."""
    with local_errors(folder or tempfile.gettempdir(), "written"):
        if folder is not None:
            os.makedirs(folder, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder)  # pyright: ignore[reportReturnType]


def _write(file: BinaryIO, data: bytes) -> None:
    with local_errors("an upload", "written"):
        file.write(data)
        file.flush()
