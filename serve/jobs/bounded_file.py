"""A read-only file that limits single reads and the sum of all reads, for the parsers of archives."""

import io
from typing import BinaryIO

from serve.jobs.cancellation import StopEvent
from serve.runtime.errors import ApiError

_PIECE_BYTES = 1 << 18


class BoundedFile(io.RawIOBase):
    """Forward reads to another file.

    ``zipfile`` and ``tarfile`` read whole directories and headers into memory, of the size that the archive
    declares.

    Args:
        file: with the archive, or the decompressed one.
        max_read_bytes: of one read, except of headers.
        max_total_bytes: of all reads, bytes that are skipped included; beyond, the archive is too large.
        can_seek: the file can be read at any position. Otherwise a seek forward reads, and a seek backward
            raises.
        stop: checked before each read and seek.
    """

    def __init__(
        self,
        file: BinaryIO,
        *,
        max_read_bytes: int,
        max_total_bytes: int,
        stop: StopEvent,
        can_seek: bool = True,
    ) -> None:
        self._file = file
        self._max_read_bytes = max_read_bytes
        self._left = self._max_total_bytes = max_total_bytes
        self._can_seek = can_seek
        self._stop = stop
        self._headers_left: int | None = None
        self.last_read = b""

    def begin_headers(self, max_bytes: int) -> None:
        """Limit the sum of all reads until ``end_headers``; bytes that a seek skips do not count."""
        self._headers_left = max_bytes

    def end_headers(self) -> None:
        """Limit single reads again."""
        self._headers_left = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()

    def read(self, size: int | None = -1, /) -> bytes:
        """Read at most ``size`` bytes.

        Raises:
            ApiError: ``unreadable_archive`` for an excessive read, ``too_large`` for an excessive sum,
                ``deadline_exceeded``.
        """
        limit = self._max_read_bytes if self._headers_left is None else self._headers_left
        if size is None or size < 0:
            size = limit + 1
        data = self._read(min(size, limit + 1))
        if len(data) > limit:
            raise ApiError(
                "unreadable_archive",
                f"the archive has a directory or header of more than {limit / 1e3:,.0f} kB; pack the photos "
                "again, with shorter names and without extended attributes",
            )
        if self._headers_left is not None:
            self._headers_left -= len(data)
        return data

    def _read(self, size: int) -> bytes:
        self._stop.check()
        self.last_read = data = self._file.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise ApiError(
                "too_large",
                f"the archive has more than {self._max_total_bytes / 1e6:g} MB when unpacked; send fewer "
                "photos",
            )
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to a position.

        Raises:
            ApiError: as ``read``; ``unreadable_archive`` for a position before the present one.
            ValueError: a negative position.
        """
        self._stop.check()
        if self._can_seek:
            if whence == io.SEEK_SET and offset < 0:
                raise ValueError(f"negative position {offset}")
            return self._file.seek(offset, whence)
        position = self._file.tell()
        if whence != io.SEEK_SET or offset < position:
            raise ApiError("unreadable_archive", "the archive is damaged; pack the photos again")
        while (position := self._file.tell()) < offset:
            if not self._read(min(_PIECE_BYTES, offset - position)):
                break
        return position
