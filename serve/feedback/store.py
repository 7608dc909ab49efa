"""Store feedback in a folder or a bucket, one file each, within a total size.

``FOLDER/records/SHA256-OF-RECEIPT.json`` holds a record with its photo, so that both are written and deleted
at once. ``FOLDER/usage.json`` holds the total size. Every call blocks. Decision:
docs/decisions/0037-feedback.md.
"""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from datetime import UTC, date, datetime, time

from pydantic import Field, ValidationError

from models import storage
from models.atomic_update import update_file
from models.storage_errors import MissingError, StorageError
from serve.feedback.schemas import FeedbackRecord
from serve.schemas import Body

RECORDS, USAGE = "records", "usage.json"
SUFFIX = ".json"
PRIVATE = 0o600
RECEIPT_BYTES = 16
BLOCK_BYTES = 4096
"""A smaller record counts as much, so that their number is bounded too."""


class StoreFullError(StorageError):
    """Report that one more record would exceed the total size."""


class DamagedRecordError(StorageError):
    """Report a file that is no record."""


class _Usage(Body):
    num_bytes: int = Field(ge=0)
    counted_on: date


def new_receipt() -> str:
    """Return a code of 128 random bits."""
    return secrets.token_urlsafe(RECEIPT_BYTES)


def today() -> date:
    """Return the date, UTC."""
    return datetime.now(UTC).date()


class FeedbackStore:
    """Write, delete and read records.

    Args:
        folder: path or s3:// address.
        max_bytes: of all records.
    """

    def __init__(self, folder: str, *, max_bytes: int) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._records = storage.join(folder, RECORDS)
        self._usage = storage.join(folder, USAGE)

    def add(self, receipt: str, record: FeedbackRecord) -> None:
        """Store one record; after an error nothing of it is stored.

        Raises:
            StoreFullError: the total size would be exceeded.
            StorageError: it cannot be written.
        """
        address = self._address(receipt)
        content = record.model_dump_json(exclude_none=True).encode()
        self._reserve(len(content))
        try:
            storage.write_bytes(address, content, mode=PRIVATE)
        except StorageError:
            with contextlib.suppress(StorageError):
                storage.delete(address)  # S3 may have stored it although its response was lost
                self._release(len(content))
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
            self._release(num_bytes)
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

    def _reserve(self, num_bytes: int) -> None:
        """Add to the total size; recount it once a day, which corrects it after a crash."""
        is_accepted = False

        def change(before: bytes | None) -> bytes:
            nonlocal is_accepted
            usage = _parse_usage(before)
            if usage is None or usage.counted_on != today():
                sizes = storage.list_sizes(self._records)
                usage = _Usage(num_bytes=sum(map(_cost_of, sizes)), counted_on=today())
            total = usage.num_bytes + _cost_of(num_bytes)
            is_accepted = total <= self._max_bytes
            return _dump_usage(usage.model_copy(update={"num_bytes": total}) if is_accepted else usage)

        update_file(self._usage, change)
        if not is_accepted:
            raise StoreFullError(
                f"{self.folder} has feedback of nearly {self._max_bytes / 1e6:g} MB, the limit; export and "
                "remove records, or raise gateway.feedback_max_mb"
            )

    def _release(self, num_bytes: int) -> None:
        def change(before: bytes | None) -> bytes | None:
            usage = _parse_usage(before)
            if usage is None:
                return None
            left = max(0, usage.num_bytes - _cost_of(num_bytes))
            return _dump_usage(usage.model_copy(update={"num_bytes": left}))

        update_file(self._usage, change)


def _name_of(address: str) -> str:
    return os.path.basename(address).removesuffix(SUFFIX)


def _cost_of(num_bytes: int) -> int:
    return max(num_bytes, BLOCK_BYTES)


def _parse_usage(content: bytes | None) -> _Usage | None:
    """Return None for a missing or damaged file; the size is then recounted."""
    try:
        return None if content is None else _Usage.model_validate_json(content)
    except ValidationError:
        return None


def _dump_usage(usage: _Usage) -> bytes:
    return usage.model_dump_json().encode()
