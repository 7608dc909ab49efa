"""Photos decoded in threads of their own, a bounded number at once, so that the event loop stays free."""

import asyncio
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from serve import metrics

MAX_QUICK_PX = 6_000_000
"""A PNG or WebP of more takes over 0.2 s; a progressive JPEG takes a third of that, others a twelfth."""
_JPEG_FACTOR = 3
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

_P = ParamSpec("_P")
_T = TypeVar("_T")


class DecodingPool:
    """Runs what needs the CPU for a while; work that nobody waits for any more is not begun.

    Photos that take long have one thread of their own and wait for each other, never others for them.
    """

    def __init__(self, num_threads: int) -> None:
        self._quick = ThreadPoolExecutor(num_threads, thread_name_prefix="decode")
        self._slow = ThreadPoolExecutor(1, thread_name_prefix="decode-slow")

    async def decode(self, work: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs) -> _T:
        """Decode one photo, whose bytes are the first argument, when a thread is free."""
        data = arguments[0]
        threads = self._slow if isinstance(data, bytes) and takes_long(data) else self._quick
        return await asyncio.wrap_future(threads.submit(_timed, work, *arguments, **options))

    async def run(self, work: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs) -> _T:
        """Run other work in one of the threads."""
        return await asyncio.wrap_future(self._quick.submit(work, *arguments, **options))


def takes_long(data: bytes) -> bool:
    """Guess from its header alone, in microseconds, whether a photo takes long to decode."""
    try:
        if data.startswith(b"\xff\xd8"):
            return _jpeg_pixels(data) > _JPEG_FACTOR * MAX_QUICK_PX
        if data.startswith(b"\x89PNG"):
            width, height = struct.unpack_from(">II", data, 16)
        elif data[12:16] == b"VP8X":
            width, height = (1 + int.from_bytes(data[start : start + 3], "little") for start in (24, 27))
        elif data[12:16] == b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        elif data[12:16] == b"VP8 ":
            width, height = (size & 0x3FFF for size in struct.unpack_from("<HH", data, 26))
        else:
            return False  # no photo of ours: refused by its first bytes
    except struct.error:
        return False  # cut off before anything could take long
    return width * height > MAX_QUICK_PX


def _jpeg_pixels(data: bytes) -> int:
    """Read the pixels of a JPEG from its frame header, which stands behind a few other segments."""
    position = 2
    for _ in range(64):
        marker, length = struct.unpack_from(">xBH", data, position)
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, position + 5)
            return (
                width * height if marker > 0xC1 else 0
            )  # one that is not progressive is read reduced, quickly
        position += 2 + length
    return 1 << 32  # nobody's camera writes so many


def _timed(work: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs) -> _T:
    began = time.monotonic()
    try:
        return work(*arguments, **options)
    finally:
        metrics.note_decode(time.monotonic() - began)
