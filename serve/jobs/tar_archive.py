"""Read the photos of a tar archive, front to back."""

import tarfile
import zlib
from collections.abc import Iterator
from typing import Any

from serve.jobs.archive_entry import (
    ArchiveLimits,
    Entry,
    EntryChecker,
    damaged,
    entry_error,
    is_hidden,
    photo_too_large,
    plain_name,
    short_name,
)
from serve.jobs.bounded_file import BoundedFile
from serve.schemas import ErrorDetail

PIECE_BYTES = 1 << 18
MAX_HEADER_BYTES = 8192
"""Of all headers of one entry: ``tarfile`` needs time in proportion to the square of their length, and holds
the interpreter's lock meanwhile (CVE-2024-6232, in Python before 3.11.10 and 3.12.6)."""
MAX_GLOBAL_HEADERS = 100
"""Keys of global headers, which ``tarfile`` copies for every entry."""
_DAMAGED = (
    *(tarfile.TarError, zlib.error, EOFError, OSError),
    *(ValueError, OverflowError, LookupError, AttributeError, TypeError, RecursionError),
)
"""Raised by ``tarfile`` and ``gzip`` for damaged archives; ``gzip.BadGzipFile`` is an OSError."""
_BLOCK_BYTES = 512


def read_tar(file: BoundedFile, limits: ArchiveLimits) -> Iterator[Entry]:
    """Yield every photo, or the error in place of it.

    Raises:
        ApiError: ``unreadable_archive``, ``too_large`` or ``too_many_photos``.
    """
    names = EntryChecker(limits)
    try:
        file.begin_headers(MAX_HEADER_BYTES)  # opening reads the headers of the first entry
        archive: Any = tarfile.open(fileobj=file, mode="r:")  # pyright: ignore[reportArgumentType, reportCallIssue]
        while (member := _next(archive, file)) is not None:
            archive.members.clear()  # tarfile keeps every member
            names.count_file()
            name = plain_name(member.name)
            if member.isdir() or is_hidden(name):
                continue
            error = names.check(name) or _problem(member, limits)
            data = b"" if error else _read(archive, member)
            yield Entry(name=short_name(name), data=data, error=error)
        if file.last_read != bytes(_BLOCK_BYTES):  # tarfile ends at a damaged header without an error
            raise damaged("a header is invalid, or the end is missing")
        while file.read(PIECE_BYTES):  # gzip has its checksum at the end
            pass
    except _DAMAGED as error:
        raise damaged(str(error)) from error


def _next(archive: Any, file: BoundedFile) -> tarfile.TarInfo | None:
    """Read the headers of the next entry; return None at the end."""
    file.begin_headers(MAX_HEADER_BYTES)
    member = archive.next()
    file.end_headers()
    if len(archive.pax_headers) > MAX_GLOBAL_HEADERS:
        raise damaged(f"it has more than {MAX_GLOBAL_HEADERS} global headers")
    return member


def _problem(member: tarfile.TarInfo, limits: ArchiveLimits) -> ErrorDetail | None:
    """Return the error of an entry by its header."""
    if not member.isreg() or member.issparse():
        return entry_error("invalid_request", "the entry is a link or a special file; pack the photo itself")
    if member.size < 0:
        raise ValueError("a size is negative")
    if member.size > limits.max_photo_bytes:
        return photo_too_large(limits.max_photo_bytes)
    return None


def _read(archive: Any, member: tarfile.TarInfo) -> bytes:
    """Return the content of a regular file; raise EOFError if it is truncated."""
    file = archive.extractfile(member)
    pieces: list[bytes] = []
    while piece := file.read(PIECE_BYTES):
        pieces.append(piece)
    data = b"".join(pieces)
    if len(data) < member.size:
        raise EOFError("the last entry is not complete")
    return data
