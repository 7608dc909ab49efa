"""The photos of a folder or a bucket: listing and reading."""

import errno
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from models.errors import SkinserveError
from models.images import photo_too_large
from models.limits import MAX_PHOTO_BYTES, PHOTO_FORMATS
from models.storage import is_remote, read_bytes
from models.storage_errors import MissingBucketError, MissingError, StorageError
from models.storage_listing import ListedFile, iterate_files

NUM_READERS = 8
"""Threads of one worker that read photos ahead, most of the time waiting for S3."""
RETRY_PAUSES_S = (0.5, 2.0, 8.0)
"""Before each further attempt to read a local file, for instance of a network file system."""
_ERRORS_OF_ONE_FILE = (
    *(errno.EACCES, errno.EPERM, errno.EISDIR),
    *(errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG),  # of broken links
)
PHOTO_SUFFIXES = tuple(suffix for format in PHOTO_FORMATS for suffix in format.suffixes)


class BulkError(SkinserveError):
    """Report photos that cannot be scored."""


class Photo(NamedTuple):
    """One photo of the source."""

    name: str
    """Relative to the source."""
    num_bytes: int


class Failure(NamedTuple):
    """Why a photo has no answer."""

    code: str
    message: str
    is_of_storage: bool = False
    """Whether the file could not be read at all."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A folder or a bucket of photos.

    Args:
        address: absolute path or ``s3://bucket/prefix``, without a slash at the end.
        any_name: every file is a photo, whatever its name.
    """

    address: str
    any_name: bool = False

    def files(self) -> Iterator[ListedFile]:
        """Yield all files of the source, always in the same order.

        Raises:
            StorageError: it cannot be listed.
        """
        return iterate_files(self.address)

    def is_photo(self, name: str) -> bool:
        """Check whether the name of a file is that of a photo."""
        return self.any_name or name.lower().endswith(PHOTO_SUFFIXES)

    def read(self, photo: Photo) -> bytes | Failure:
        """Return the content of a photo, or why this one cannot be read.

        Raises:
            StorageError: the bucket cannot be read, or the disk after several attempts.
        """
        if photo.num_bytes > MAX_PHOTO_BYTES:
            error = photo_too_large(photo.num_bytes, MAX_PHOTO_BYTES)
            return Failure(error.code, str(error))
        for pause_s in (*RETRY_PAUSES_S, None):
            try:
                data = read_bytes(f"{self.address}/{photo.name}", max_bytes=MAX_PHOTO_BYTES)
                if len(data) > MAX_PHOTO_BYTES:  # it has grown since it was listed
                    error = photo_too_large(len(data), MAX_PHOTO_BYTES)
                    return Failure(error.code, str(error))
                return data
            except MissingBucketError:
                raise
            except MissingError:
                message = (
                    "the photo was listed and is no longer there; restore it and score it into a new folder"
                )
                return Failure("missing", message, is_of_storage=True)
            except StorageError as error:
                cause = error.__cause__
                if isinstance(cause, OSError) and cause.errno in _ERRORS_OF_ONE_FILE:
                    message = f"the file cannot be read: {(cause.strerror or 'error').lower()}; correct that"
                    return Failure("unreadable_file", message, is_of_storage=True)
                if pause_s is None or is_remote(self.address):
                    raise
            time.sleep(pause_s)
        raise AssertionError("unreachable")

    def read_ahead(self, photos: Sequence[Photo]) -> Iterator[bytes | Failure]:
        """Yield the contents of photos in order, reading up to ``NUM_READERS`` ahead.

        Raises:
            StorageError: as ``read``, or some photos cannot be read because the whole source is gone.
        """
        has_failed = False
        with ThreadPoolExecutor(NUM_READERS, thread_name_prefix="read") as threads:
            for content in _in_order(threads, self, photos):
                has_failed |= isinstance(content, Failure) and content.is_of_storage
                yield content
        if has_failed:
            self.check_exists()

    def check_exists(self) -> None:
        """Check that the source still has files.

        Raises:
            StorageError: it has none or cannot be listed; for instance, it is no longer mounted.
        """
        if next(self.files(), None) is None:
            raise MissingError(f"{self.address} has no files any more; mount or restore it")


def normalized(address: str) -> str:
    """Return an absolute path, or an ``s3://`` address without a slash at its end."""
    return address.rstrip("/") if is_remote(address) else os.path.abspath(address)


def _in_order(
    threads: ThreadPoolExecutor, source: Source, photos: Iterable[Photo]
) -> Iterator[bytes | Failure]:
    remaining = iter(photos)
    reading: deque[Future[bytes | Failure]] = deque(
        threads.submit(source.read, photo) for photo in islice(remaining, NUM_READERS)
    )
    try:
        while reading:
            content = reading.popleft().result()
            reading.extend(threads.submit(source.read, photo) for photo in islice(remaining, 1))
            yield content
    finally:
        for one in reading:
            one.cancel()
