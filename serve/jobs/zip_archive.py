"""Read the photos of a zip archive."""

import struct
import zipfile
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
from serve.runtime.errors import ApiError
from serve.schemas import ErrorDetail

MAX_ENTRY_RATIO = 200
"""Of one entry above 1 MB; a drawn BMP has about 100."""
_MIN_CHECKED_BYTES = 1_000_000
_PIECE_BYTES = 1 << 18
_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, EOFError, struct.error),
    *(NotImplementedError, RuntimeError, ValueError, OverflowError, KeyError, IndexError),
)
"""Raised by ``zipfile`` for damaged archives."""


def read_zip(file: BoundedFile, max_total_bytes: int, limits: ArchiveLimits) -> Iterator[Entry]:
    """Yield every photo, or the error in place of it.

    Args:
        max_total_bytes: of all photos, unpacked.

    Raises:
        ApiError: ``unreadable_archive``, ``too_large`` or ``too_many_photos``.
    """
    names, total = EntryChecker(limits), 0
    try:
        archive: Any = zipfile.ZipFile(file)  # pyright: ignore[reportArgumentType, reportCallIssue]
    except _DAMAGED as error:
        raise damaged(str(error)) from error
    for info in archive.infolist():
        names.count_file()
        name = plain_name(info.filename)
        if info.is_dir() or is_hidden(name):
            continue
        error = names.check(name) or _problem(info, limits)
        data = b""
        if error is None:
            total += info.file_size  # an entry that turns out to be damaged costs as much
            if total > max_total_bytes:
                raise ApiError(
                    "too_large",
                    f"the archive has more than {max_total_bytes / 1e6:g} MB when unpacked; send fewer "
                    "photos",
                )
            data, error = _read(archive, info, limits.max_photo_bytes)
        yield Entry(name=short_name(name), data=b"" if error else data, error=error)


def _problem(info: zipfile.ZipInfo, limits: ArchiveLimits) -> ErrorDetail | None:
    """Return the error of an entry by its header."""
    kind = info.external_attr >> 16 & 0o170000
    if kind not in (0, 0o100000):
        return entry_error("invalid_request", "the entry is a link or a special file; pack the photo itself")
    if info.flag_bits & _ENCRYPTED:
        return entry_error("invalid_request", "the entry is encrypted; pack the photos without a password")
    if info.compress_type not in _METHODS:
        return entry_error(
            "invalid_request",
            f"the entry has the compression method {info.compress_type}; pack the photos with deflate, or "
            "without compression",
        )
    if info.file_size > limits.max_photo_bytes:
        return photo_too_large(limits.max_photo_bytes)
    if info.file_size > max(_MIN_CHECKED_BYTES, MAX_ENTRY_RATIO * info.compress_size):
        return entry_error(
            "too_large", f"the entry is compressed more than {MAX_ENTRY_RATIO} times; send the photo itself"
        )
    return None


def _read(archive: Any, info: zipfile.ZipInfo, max_bytes: int) -> tuple[bytes, ErrorDetail | None]:
    """Unpack one entry; at most 4 kB more than it declares."""
    pieces: list[bytes] = []
    try:
        with archive.open(info) as file:
            while piece := file.read(min(_PIECE_BYTES, max(1, info.file_size))):
                pieces.append(piece)
                if sum(map(len, pieces)) > max_bytes:
                    return b"", photo_too_large(max_bytes)
    except _DAMAGED as error:
        reason = str(error).replace(repr(info.filename), "the entry")[:100]
        return b"", entry_error("unreadable_image", f"the entry is damaged ({reason}); pack the photo again")
    return b"".join(pieces), None
