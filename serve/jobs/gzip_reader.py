"""Decompress an uploaded gzip file front to back."""

import zlib
from typing import BinaryIO

from serve.jobs.cancellation import StopEvent
from serve.runtime.content_encoding import MAX_GZIP_MEMBERS
from serve.runtime.errors import ApiError

_CHUNK_BYTES = 1 << 16
_GZIP_WBITS = zlib.MAX_WBITS | 16


class GzipReader:
    """Read a gzip file of one or more members once.

    ``gzip.GzipFile`` runs Python code for each byte of a name in a header, and accepts any number of members.

    Args:
        file: read in chunks.
        stop: checked before each chunk.
    """

    def __init__(self, file: BinaryIO, stop: StopEvent) -> None:
        self._file = file
        self._stop = stop
        self._stream = zlib.decompressobj(_GZIP_WBITS)
        self._num_members = 1
        self._compressed = b""
        self._position = 0

    def tell(self) -> int:
        """Return the number of decompressed bytes so far."""
        return self._position

    def read(self, size: int, /) -> bytes:
        """Return ``size`` decompressed bytes; fewer only at the end.

        Raises:
            EOFError: the file is cut off.
            zlib.error: it is damaged.
            ApiError: ``unreadable_archive`` for too many members, ``deadline_exceeded``.
        """
        pieces: list[bytes] = []
        left = size
        while left and (piece := self._decompress(left)):
            pieces.append(piece)
            left -= len(piece)
        self._position += size - left
        return b"".join(pieces)

    def _decompress(self, max_bytes: int) -> bytes:
        """Return at least one byte; none at the end."""
        while True:
            if self._stream.eof and not self._start_member():
                return b""
            self._compressed = self._compressed or self._next_chunk()
            is_cut_off = not self._compressed
            piece = self._stream.decompress(self._compressed, max_bytes)  # zlib may hold more without input
            self._compressed = self._stream.unconsumed_tail or self._stream.unused_data
            if piece:
                return piece
            if is_cut_off and not self._stream.eof:
                raise EOFError("the gzip data ends early")

    def _start_member(self) -> bool:
        """Skip zeros that pad the last member, and start the next one; return whether there is one."""
        while not (rest := self._compressed.lstrip(b"\0")):
            self._compressed = self._next_chunk()
            if not self._compressed:
                return False
        if self._num_members == MAX_GZIP_MEMBERS:
            raise ApiError(
                "unreadable_archive",
                f"the archive has more than {MAX_GZIP_MEMBERS} gzip members; compress it in one piece",
            )
        self._num_members += 1
        self._compressed = rest
        self._stream = zlib.decompressobj(_GZIP_WBITS)
        return True

    def _next_chunk(self) -> bytes:
        self._stop.check()
        return self._file.read(_CHUNK_BYTES)
