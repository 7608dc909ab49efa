"""Read the photos of an uploaded archive, zip or tar, one after the other, within limits.

Nothing is extracted to a file under the name that the archive gives it.
"""

from collections.abc import Iterator
from typing import BinaryIO

from serve.jobs import tar_archive, zip_archive
from serve.jobs.archive_entry import ArchiveLimits, Entry
from serve.jobs.bounded_file import BoundedFile
from serve.jobs.cancellation import StopEvent
from serve.jobs.gzip_reader import GzipReader
from serve.runtime.errors import ApiError

MIN_DIRECTORY_BYTES = 1_000_000
"""Of the directory of a zip archive; always allowed."""
MAX_RATIO = 20
"""Unpacked bytes for each byte of a whole archive; photos are compressed already."""
MIN_UNPACKED_BYTES = 100_000_000
"""Always allowed, for small archives of pictures that compress well."""
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_GZIP = b"\x1f\x8b"
_TAR, _TAR_AT = b"ustar", 257


def read_entries(
    file: BinaryIO, num_bytes: int, limits: ArchiveLimits, stop: StopEvent | None = None
) -> Iterator[Entry]:
    """Yield every photo of an archive, or the error in place of it, in the order of the archive.

    Folders and hidden files (``.name``, ``__MACOSX/``) are left out.

    Args:
        file: seekable.
        num_bytes: its size.
        stop: ends the reading; checked before each read.

    Raises:
        ApiError: ``unsupported_type``, ``unreadable_archive``, ``too_large``, ``too_many_photos`` or
            ``deadline_exceeded``.
    """
    stop = stop or StopEvent()
    file.seek(0)
    start = file.read(512)
    file.seek(0)
    total = max(MIN_UNPACKED_BYTES, MAX_RATIO * num_bytes)
    if start.startswith(_ZIP):
        # Few entries have an extra field; those of info-zip take 32 bytes
        directory = max(MIN_DIRECTORY_BYTES, limits.max_files * 200)
        bounded = BoundedFile(
            file, max_read_bytes=directory, max_total_bytes=2 * num_bytes + total, stop=stop
        )
        return zip_archive.read_zip(bounded, total, limits)
    opened: BinaryIO
    if start.startswith(_GZIP):
        opened = GzipReader(file, stop)  # pyright: ignore[reportAssignmentType]
    elif start[_TAR_AT:].startswith(_TAR):
        opened = file
    else:
        raise ApiError(
            "unsupported_type",
            "the body is neither a zip nor a tar archive; send .zip, .tar or .tar.gz, or JSON with a source",
        )
    bounded = BoundedFile(
        opened, max_read_bytes=tar_archive.PIECE_BYTES, max_total_bytes=total, stop=stop, can_seek=False
    )
    return tar_archive.read_tar(bounded, limits)
