"""Photos decoded in threads of their own, a bounded number at once, so that the event loop stays free."""

import asyncio
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from models.images import PhotoError, jpeg_decoding_cost
from serve.runtime import metrics

MAX_QUICK_PX = 6_000_000
"""A PNG or WebP of more takes over 0.2 s."""
_JPEG_FACTOR = 30
"""One scan of a progressive JPEG takes that much less, and it has about ten."""

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
    """Guess without decoding it, from headers and markers, whether a photo takes long to decode."""
    try:
        if data.startswith(b"\xff\xd8"):
            return jpeg_decoding_cost(data) > _JPEG_FACTOR * MAX_QUICK_PX  # one scan is read reduced
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
    except (struct.error, PhotoError):
        return False  # cut off before anything could take long, or refused before it is decoded
    return width * height > MAX_QUICK_PX


def _timed(work: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs) -> _T:
    began = time.monotonic()
    try:
        return work(*arguments, **options)
    finally:
        metrics.record_decode(time.monotonic() - began)
