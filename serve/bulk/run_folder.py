"""The output folder of a run: its settings, the shards of its photos, and the rows of finished shards.

``run.json`` has the settings. ``manifest/0000000.json`` lists the photos of one shard, ``listing.json`` is
written after the last of them. ``rows/part-0000000.parquet`` has the rows of one finished shard. It is
written atomically, so that a shard is finished or not. The folder may be in a bucket.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.storage import delete, is_remote, join, read_bytes, write_bytes
from models.storage_errors import MissingError, local_errors
from models.storage_listing import ListedFile, iterate_files
from serve.bulk.row_files import RowFormat
from serve.bulk.source import BulkError, Photo, Source

FORMAT_VERSION = 1
MAX_PHOTOS_PER_SHARD = 10_000
RUN, LISTING, SUMMARY = "run.json", "listing.json", "summary.json"
MANIFEST, ROWS, CRASHES = "manifest", "rows", "crashes"
LOCK = ".lock"
_PART = re.compile(r"part-(\d{7,})\.\w+")
_STARTED = re.compile(rf"{re.escape(LOCK)}|\.{re.escape(RUN)}\.\w+")
"""Files of a command that was killed before it had written ``run.json``."""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_F = TypeVar("_F", bound=_File)


class StoredSettings(_File):
    """Content of ``run.json``: everything that decides about the rows and their files."""

    format_version: int = FORMAT_VERSION
    source: str
    any_name: bool
    photos_per_shard: int = Field(ge=1, le=MAX_PHOTOS_PER_SHARD)
    format: RowFormat
    scorer: dict[str, str | int] = Field(description="of Scorer.description")


class Listing(_File):
    """Content of ``listing.json``: the photos of the source when the run began."""

    num_photos: int
    num_bytes: int
    num_skipped: int = Field(description="other files of the source")
    num_shards: int
    sha256: str = Field(description="of names, sizes and versions of all photos, in order")

    def photos_of(self, shard: int, photos_per_shard: int) -> int:
        """Return the number of photos of a shard; only the last one may be smaller."""
        return min(photos_per_shard, self.num_photos - shard * photos_per_shard)


class Lister:
    """Split the listing of a source into shards; count and hash the photos on the way."""

    def __init__(self, source: Source, photos_per_shard: int) -> None:
        self._source = source
        self._photos_per_shard = photos_per_shard
        self._hash = hashlib.sha256()
        self.num_photos = self.num_bytes = self.num_skipped = self.num_shards = 0

    def shards(self) -> Iterator[list[Photo]]:
        """Yield the photos of each shard.

        Raises:
            StorageError: the source cannot be listed.
        """
        shard: list[Photo] = []
        for file in self._source.files():
            if not self._source.is_photo(file.name):
                self.num_skipped += 1
                continue
            self._count(file)
            shard.append(Photo(file.name, file.num_bytes))
            if len(shard) == self._photos_per_shard:
                self.num_shards += 1
                yield shard
                shard = []
        if shard:
            self.num_shards += 1
            yield shard

    def listing(self) -> Listing:
        """Return the counts and the hash of the photos yielded so far."""
        return Listing(
            num_photos=self.num_photos,
            num_bytes=self.num_bytes,
            num_skipped=self.num_skipped,
            num_shards=self.num_shards,
            sha256=self._hash.hexdigest(),
        )

    def _count(self, file: ListedFile) -> None:
        self.num_photos += 1
        self.num_bytes += file.num_bytes
        self._hash.update(json.dumps(file).encode())


class RunFolder:
    """Read and write the files of one run; picklable.

    Args:
        address: absolute path or ``s3://bucket/prefix``.
        format: of the rows.
    """

    def __init__(self, address: str, format: RowFormat) -> None:
        self.address = address
        self._format = format

    @contextlib.contextmanager
    def open(self, settings: StoredSettings) -> Iterator[None]:
        """Start a run in an empty folder, or continue a run with the same settings.

        Raises:
            BulkError: the folder has other files, a run with other settings, or another process in it.
            StorageError: it cannot be read or written.
        """
        self._check_apart_from(settings.source)
        self._find_settings()  # no lock file in a folder with other files
        with self._lock():
            found = self._find_settings()
            if found is None:
                self._write(RUN, settings)
            elif found != settings:
                raise BulkError(_difference(self.address, found.model_dump(), settings.model_dump()))
            yield

    def read_listing(self) -> Listing | None:
        """Return the listing; None if listing the source was not completed."""
        return self._read(LISTING, Listing)

    def write_listing(self, listing: Listing) -> None:
        """Write the listing, after the last shard of the manifest."""
        self._write(LISTING, listing)

    def write_summary(self, summary: Mapping[str, object]) -> None:
        """Write ``summary.json``."""
        write_bytes(join(self.address, SUMMARY), json.dumps(summary, indent=1).encode() + b"\n")

    def write_manifest(self, shard: int, photos: list[Photo]) -> None:
        """Write the photos of one shard."""
        write_bytes(self.manifest(shard), json.dumps(photos).encode())

    def read_manifest(self, shard: int) -> list[Photo]:
        """Return the photos of one shard."""
        return [Photo(*one) for one in json.loads(read_bytes(self.manifest(shard)))]

    def write_rows(self, shard: int, content: bytes) -> None:
        """Write the rows of one shard atomically; the shard is finished then."""
        write_bytes(join(self.address, f"{ROWS}/part-{shard:07}.{self._format}"), content)

    def finished_shards(self) -> set[int]:
        """Return the finished shards; remove what killed workers have left half written."""
        finished: set[int] = set()
        for file in iterate_files(join(self.address, ROWS)):
            if match := _PART.fullmatch(file.name):
                finished.add(int(match[1]))
            elif file.name.startswith(".") and not is_remote(self.address):
                Path(self.address, ROWS, file.name).unlink(missing_ok=True)
        return finished

    def count_crash(self, shard: int) -> int:
        """Count a shard that was begun after its worker had ended; return the number of times."""
        address = join(self.address, f"{CRASHES}/{shard:07}.txt")
        try:
            number = int(read_bytes(address)) + 1
        except MissingError:
            number = 1
        write_bytes(address, b"%d" % number)
        return number

    def forget_crashes(self) -> None:
        """Remove the counts of earlier runs."""
        for file in list(iterate_files(join(self.address, CRASHES))):
            delete(join(self.address, f"{CRASHES}/{file.name}"))

    def manifest(self, shard: int) -> str:
        """Return the address of the list of a shard's photos."""
        return join(self.address, f"{MANIFEST}/{shard:07}.json")

    def _find_settings(self) -> StoredSettings | None:
        """Return the settings of the run in this folder; None in an empty folder."""
        has_files = any(not _STARTED.fullmatch(file.name) for file in iterate_files(self.address))
        found = self._read(RUN, StoredSettings)  # after the listing: another command may have begun the run
        if found is None and has_files:
            raise BulkError(f"{self.address} has files and is no output of this command; name a new folder")
        return found

    def _read(self, name: str, kind: type[_F]) -> _F | None:
        try:
            return kind.model_validate_json(read_bytes(join(self.address, name)))
        except MissingError:
            return None
        except ValidationError as error:
            raise BulkError(
                f"{join(self.address, name)} is damaged or of another version of skinserve; name a new folder"
            ) from error

    def _write(self, name: str, content: _File) -> None:
        write_bytes(join(self.address, name), content.model_dump_json(indent=1).encode() + b"\n")

    def _check_apart_from(self, source: str) -> None:
        own, other = (one if is_remote(one) else os.path.realpath(one) for one in (self.address, source))
        if f"{own}/".startswith(f"{other}/"):
            raise BulkError(f"{self.address} is in the source {source}; name an output outside of it")

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold the lock of a local folder; two processes would do the same work."""
        if is_remote(self.address):
            yield
            return
        lock = FileLock(os.path.join(self.address, LOCK), timeout=0)
        with local_errors(self.address, "locked"):
            os.makedirs(self.address, exist_ok=True)
            try:
                lock.acquire()
            except Timeout as error:
                raise BulkError(f"another command is scoring into {self.address}; wait or stop it") from error
        try:
            yield
        finally:
            lock.release()


def _difference(address: str, before: Mapping[str, object], now: Mapping[str, object]) -> str:
    """Return the message about the first setting that differs."""
    old, new = ({**one, **scorer} for one in (before, now) if isinstance(scorer := one["scorer"], dict))
    name = next(key for key in {**old, **new} if key != "scorer" and old.get(key) != new.get(key))
    return (
        f"{address} was begun with {name} {old.get(name)}, now it is {new.get(name)}; repeat the first "
        "command, or name a new folder"
    )
