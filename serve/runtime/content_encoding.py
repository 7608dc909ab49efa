"""Decode ``Content-Encoding`` chunk by chunk: a decompression bomb stays within the limits."""

import zlib
from collections.abc import Iterator
from typing import Protocol

from starlette.requests import Request

from serve.runtime.errors import ApiError

PIECE_BYTES = 1 << 18
"""Largest decoded piece; one takes about 1 ms."""
MAX_GZIP_MEMBERS = 10_000
"""Members of one gzip body; each costs CPU even if it is empty."""


class Decoder(Protocol):
    """Decode a body chunk by chunk."""

    def decode(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the decoded pieces of one chunk; raises ``ApiError`` if it is damaged."""
        ...

    def finish(self) -> None:
        """Raise ``ApiError`` if the body was cut off."""
        ...


def new_decoder(request: Request) -> Decoder:
    """Return the decoder of a request's ``Content-Encoding``.

    Raises:
        ApiError: ``unsupported_type``, for an unknown encoding or more than one.
    """
    values = ",".join(request.headers.getlist("content-encoding")).lower().split(",")
    encodings = [value for value in map(str.strip, values) if value not in ("", "identity")]
    if not encodings:
        return _Identity()
    if encodings in (["gzip"], ["x-gzip"], ["deflate"]):
        return _Inflater(encodings[0])
    raise ApiError(
        "unsupported_type",
        f"the content encoding is {', '.join(encodings)[:40]!r}; send the body without one, or with one of "
        "gzip and deflate",
    )


class _Identity:
    """Pass a body on."""

    def decode(self, chunk: bytes) -> Iterator[bytes]:
        yield chunk

    def finish(self) -> None:
        pass


class _Inflater:
    """Decode gzip, of one or more members, and deflate.

    RFC 9110 defines deflate with a zlib header; many clients send it without one.

    Args:
        encoding: for the messages.
    """

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._is_gzip = encoding != "deflate"
        self._start = b""
        self._stream = zlib.decompressobj(zlib.MAX_WBITS | 16) if self._is_gzip else None
        self._num_members = 1
        self._empty = True

    def decode(self, chunk: bytes) -> Iterator[bytes]:
        self._empty = self._empty and not chunk
        if self._stream is None:
            chunk = self._start = self._start + chunk
            if len(chunk) < 2:
                return
            self._stream = zlib.decompressobj(zlib.MAX_WBITS if _has_zlib_header(chunk) else -zlib.MAX_WBITS)
        piece = b""
        while chunk or len(piece) == PIECE_BYTES:  # after a full piece zlib may hold more
            if self._stream.eof and chunk:
                self._stream = self._next_member()
            try:
                piece = self._stream.decompress(chunk, PIECE_BYTES)
            except zlib.error as error:
                raise self._damaged("damaged") from error
            chunk = self._stream.unconsumed_tail or self._stream.unused_data
            yield piece

    def finish(self) -> None:
        if not (self._empty or (self._stream is not None and self._stream.eof)):
            raise self._damaged("cut off")

    def _next_member(self) -> "zlib._Decompress":
        if not self._is_gzip:
            raise self._damaged("followed by other data")
        if self._num_members == MAX_GZIP_MEMBERS:
            raise self._damaged(f"split into more than {MAX_GZIP_MEMBERS} members")
        self._num_members += 1
        return zlib.decompressobj(zlib.MAX_WBITS | 16)

    def _damaged(self, how: str) -> ApiError:
        message = f"the {self._encoding} encoding of the body is {how}; send it again, or without encoding"
        return ApiError("invalid_request", message)


def _has_zlib_header(start: bytes) -> bool:
    """Check for the header of RFC 1950: method deflate, checksum of the two bytes."""
    return start[0] & 0x0F == 8 and int.from_bytes(start[:2], "big") % 31 == 0
