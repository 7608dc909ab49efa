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
        max_read_bytes: of one read.
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
        self.last_read = b""

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
        self._stop.check()
        if size is None or size < 0:
            size = self._max_read_bytes + 1
        if size > self._max_read_bytes:
            data = self._file.read(self._max_read_bytes + 1)
            if len(data) > self._max_read_bytes:
                raise ApiError(
                    "unreadable_archive",
                    f"the archive has a directory or header of more than {self._max_read_bytes / 1e6:g} MB; "
                    "pack the photos again, with shorter names",
                )
        else:
            data = self._file.read(size)
        self.last_read = data
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
            if not self.read(min(_PIECE_BYTES, offset - position)):
                break
        return position
