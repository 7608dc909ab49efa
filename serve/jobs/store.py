"""Store jobs in a folder or a bucket.

``records/ID.json`` is the state of a job. ``photos/ID/PART.json`` lists the photos of a part, ``PART.bin``
holds them if they were uploaded. ``results/ID/PART.ndjson`` holds the rows of a finished part: a part with
this file is never scored again. Every file is written atomically. Every call blocks.

Decision: docs/decisions/0042-jobs.md.
"""

import os
import re
import secrets
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from models import storage
from models.storage_errors import StorageError
from models.storage_folders import delete_folder, list_folders
from serve.jobs.records import JobRecord, Part

RECORDS, PHOTOS, RESULTS = "records", "photos", "results"
PRIVATE = 0o600
_ID = re.compile(r"(\d{8}T\d{6})-[0-9a-f]{16}")
_TIME = "%Y%m%dT%H%M%S"


class DamagedJobError(StorageError):
    """Report a file of a job that cannot be parsed."""


def new_id() -> str:
    """Return an id that sorts by time and ends in 64 random bits."""
    return f"{datetime.now(UTC).strftime(_TIME)}-{secrets.token_hex(8)}"


def is_id(text: str) -> bool:
    """Return whether a text has the form of an id."""
    return _ID.fullmatch(text) is not None


def age_of(job: str) -> timedelta:
    """Return the time since an id was made."""
    match = _ID.fullmatch(job)
    made = datetime.strptime(match[1], _TIME).replace(tzinfo=UTC) if match else datetime.now(UTC)
    return datetime.now(UTC) - made


class JobStore:
    """Read and write the files of jobs.

    Args:
        folder: path or s3:// address.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def write_record(self, record: JobRecord) -> None:
        """Replace the record of a job; raise StorageError."""
        storage.write_bytes(self._record(record.id), record.model_dump_json().encode(), mode=PRIVATE)

    def read_record(self, job: str) -> JobRecord:
        """Return the record of a job.

        Raises:
            MissingError: there is no such job.
            DamagedJobError: the file is no record.
            StorageError: it cannot be read.
        """
        address = self._record(job)
        try:
            return JobRecord.model_validate_json(storage.read_bytes(address))
        except ValidationError as error:
            raise DamagedJobError(f"{address} is no job ({str(error).splitlines()[0]})") from error

    def record_ids(self) -> set[str]:
        """Return the ids of all records; raise StorageError."""
        files = storage.list_files(storage.join(self.folder, RECORDS))
        return {id for file in files if is_id(id := os.path.basename(file).removesuffix(".json"))}

    def ids_with_files(self) -> set[str]:
        """Return the ids of all jobs with photos or results; raise StorageError."""
        folders = (storage.join(self.folder, name) for name in (PHOTOS, RESULTS))
        return {id for folder in folders for id in list_folders(folder) if is_id(id)}

    def write_part(self, job: str, number: int, part: Part, data: bytes = b"") -> None:
        """Store the list of a part and its photos; raise StorageError."""
        address = self._part(job, number)
        if part.has_data:
            storage.write_bytes(f"{address}.bin", data, mode=PRIVATE)
        storage.write_bytes(f"{address}.json", part.model_dump_json().encode(), mode=PRIVATE)

    def read_part(self, job: str, number: int) -> tuple[Part, bytes]:
        """Return the list of a part and its photos.

        Raises:
            DamagedJobError: the list cannot be parsed.
            StorageError: it cannot be read.
        """
        address = self._part(job, number)
        try:
            part = Part.model_validate_json(storage.read_bytes(f"{address}.json"))
        except ValidationError as error:
            raise DamagedJobError(f"{address}.json is no part ({str(error).splitlines()[0]})") from error
        return part, storage.read_bytes(f"{address}.bin") if part.has_data else b""

    def write_rows(self, job: str, number: int, rows: bytes) -> None:
        """Store the rows of a finished part; raise StorageError."""
        storage.write_bytes(self._rows(job, number), rows, mode=PRIVATE)

    def read_rows(self, job: str, number: int) -> bytes:
        """Return the rows of a finished part; raise MissingError or StorageError."""
        return storage.read_bytes(self._rows(job, number))

    def finished_parts(self, job: str) -> set[int]:
        """Return the numbers of the parts with rows; raise StorageError."""
        files = storage.list_files(storage.join(storage.join(self.folder, RESULTS), job))
        names = (os.path.basename(file).partition(".") for file in files)
        return {int(name) for name, _, suffix in names if suffix == "ndjson" and name.isdigit()}

    def delete_photos(self, job: str) -> None:
        """Delete the parts of a job; raise StorageError."""
        delete_folder(storage.join(storage.join(self.folder, PHOTOS), job))

    def delete(self, job: str) -> None:
        """Delete all files of a job, its record last; raise StorageError."""
        self.delete_photos(job)
        delete_folder(storage.join(storage.join(self.folder, RESULTS), job))
        storage.delete(self._record(job))

    def _record(self, job: str) -> str:
        return storage.join(storage.join(self.folder, RECORDS), f"{job}.json")

    def _part(self, job: str, number: int) -> str:
        return storage.join(storage.join(storage.join(self.folder, PHOTOS), job), f"{number:06}")

    def _rows(self, job: str, number: int) -> str:
        return storage.join(storage.join(storage.join(self.folder, RESULTS), job), f"{number:06}.ndjson")
