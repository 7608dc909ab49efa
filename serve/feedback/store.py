"""Store feedback in a folder or a bucket, one file each, within a total size.

``FOLDER/records/SHA256-OF-RECEIPT.json`` holds a record with its photo, so that both are written and deleted
at once. ``FOLDER/usage.json`` holds the sizes: ``serve.feedback.usage``. Every call blocks. Decision:
docs/decisions/0037-feedback.md.
"""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from datetime import UTC, date, datetime, time

from pydantic import ValidationError

from models import storage
from models.atomic_update import update_file
from models.storage_errors import MissingError, StorageError
from serve.feedback.schemas import FeedbackRecord
from serve.feedback.usage import Usage, cost_of, group_in, group_of, parse_usage, recounted

RECORDS, USAGE = "records", "usage.json"
SUFFIX = ".json"
PRIVATE = 0o600
RECEIPT_BYTES = 16
_RANDOM_CHARS = 22
"""Of a receipt: 16 bytes in base64."""


class StoreFullError(StorageError):
    """Report that one more record would exceed the total size."""


class DamagedRecordError(StorageError):
    """Report a file that is no record."""


class CallerFullError(StorageError):
    """Report that one more record would exceed the size of one caller.

    Attributes:
        num_bytes: of the feedback that is stored of the caller.
    """

    def __init__(self, num_bytes: int) -> None:
        super().__init__(f"one caller has feedback of {num_bytes / 1e6:.1f} MB, the limit of each")
        self.num_bytes = num_bytes


def new_receipt(caller: str) -> str:
    """Return a code of 128 random bits and the group of the caller."""
    return f"{secrets.token_urlsafe(RECEIPT_BYTES)}{group_of(caller)}"


def today() -> date:
    """Return the date, UTC."""
    return datetime.now(UTC).date()


class FeedbackStore:
    """Write, delete and read records.

    Args:
        folder: path or s3:// address.
        max_bytes: of all records.
        max_bytes_per_caller: of the records of one caller; None: no limit.
    """

    def __init__(self, folder: str, *, max_bytes: int, max_bytes_per_caller: int | None = None) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._max_bytes_per_caller = max_bytes_per_caller
        self._records = storage.join(folder, RECORDS)
        self._usage = storage.join(folder, USAGE)

    def add(self, receipt: str, record: FeedbackRecord) -> None:
        """Store one record; after an error nothing of it is stored.

        Raises:
            StoreFullError: the total size would be exceeded.
            CallerFullError: the size of the caller would be exceeded.
            StorageError: it cannot be written.
        """
        address = self._address(receipt)
        content = record.model_dump_json(exclude_none=True).encode()
        self._reserve(receipt, len(content))
        try:
            storage.write_bytes(address, content, mode=PRIVATE)
        except StorageError:
            with contextlib.suppress(StorageError):
                storage.delete(address)  # S3 may have stored it although its response was lost
                self._release(receipt, len(content))
            raise
        if not storage.is_remote(address):
            midnight = datetime.combine(record.received_on, time(), UTC).timestamp()
            with contextlib.suppress(OSError):  # deleted again meanwhile
                os.utime(address, (midnight, midnight))

    def remove(self, receipt: str) -> bool:
        """Delete the record of a receipt; return whether there was one.

        Raises:
            StorageError: it cannot be deleted.
        """
        address = self._address(receipt)
        try:
            num_bytes = len(storage.read_bytes(address))
        except MissingError:
            return False
        storage.delete(address)
        with contextlib.suppress(StorageError):  # the record is gone; the next count is right
            self._release(receipt, num_bytes)
        return True

    def addresses(self) -> list[str]:
        """Return the sorted addresses of all records.

        Raises:
            StorageError: the store cannot be listed.
        """
        files = storage.list_files(self._records)
        return [file for file in files if file.endswith(SUFFIX) and not _name_of(file).startswith(".")]

    def read_all(self) -> Iterator[tuple[str, FeedbackRecord | DamagedRecordError]]:
        """Yield name and record of each feedback, or the error of a damaged one.

        Raises:
            StorageError: the store cannot be read.
        """
        for address in self.addresses():
            try:
                content = storage.read_bytes(address)
            except MissingError:
                continue  # deleted meanwhile
            try:
                yield _name_of(address), FeedbackRecord.model_validate_json(content)
            except ValidationError as error:
                reason = str(error).splitlines()[0]
                yield _name_of(address), DamagedRecordError(f"{address} is no feedback ({reason})")

    def _address(self, receipt: str) -> str:
        digest = hashlib.sha256(receipt.encode("utf-8", "replace")).hexdigest()
        return storage.join(self._records, f"{digest}{SUFFIX}")

    def _reserve(self, receipt: str, num_bytes: int) -> None:
        """Add to the sizes; recount the total once a day, which corrects it after a crash."""
        group = _group_of(receipt) or ""
        problem: StorageError | None = None

        def change(before: bytes | None) -> bytes:
            nonlocal problem
            usage = parse_usage(before)
            if usage is None or usage.counted_on != today():
                usage = recounted(usage, storage.list_sizes(self._records), today())
            problem = self._problem(usage, group, num_bytes)
            return _dump_usage(usage if problem else usage.with_record(num_bytes, group))

        update_file(self._usage, change)
        if problem is not None:
            raise problem

    def _problem(self, usage: Usage, group: str, num_bytes: int) -> StorageError | None:
        if usage.num_bytes + cost_of(num_bytes) > self._max_bytes:
            return StoreFullError(
                f"{self.folder} has feedback of nearly {self._max_bytes / 1e6:g} MB, the limit; export and "
                "remove records, or raise gateway.feedback_max_mb"
            )
        of_caller, limit = usage.of_group(group), self._max_bytes_per_caller
        is_full = limit is not None and of_caller + cost_of(num_bytes) > limit
        return CallerFullError(of_caller) if is_full else None

    def _release(self, receipt: str, num_bytes: int) -> None:
        def change(before: bytes | None) -> bytes | None:
            usage = parse_usage(before)
            return usage and _dump_usage(usage.without_record(num_bytes, _group_of(receipt)))

        update_file(self._usage, change)


def _name_of(address: str) -> str:
    return os.path.basename(address).removesuffix(SUFFIX)


def _group_of(receipt: str) -> str | None:
    return group_in(receipt[_RANDOM_CHARS:])


def _dump_usage(usage: Usage) -> bytes:
    return usage.model_dump_json().encode()
