"""Threads for photo decoding, so that the event loop never blocks."""

import asyncio
import contextlib
import ctypes
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from models.image_files.formats import recognise_format
from models.image_files.header import header_size
from models.image_files.jpeg import jpeg_decoding_cost
from models.images import PhotoError
from serve.runtime import metrics

MAX_FAST_PX = 6_000_000
"""A PNG or WebP of more pixels takes over 0.2 s."""
MAX_FAST_ISOLATED_PX = 16_000_000
"""Of the formats with helper processes: photos of 12 megapixels, which phones send, are decoded at once."""
_JPEG_FACTOR = 30
"""One scan of a progressive JPEG is faster than a PNG by this factor, and there are about ten."""

_M_MMAP_THRESHOLD = -3
"""Of ``mallopt(3)``."""
_MMAP_BYTES = 1_000_000

_P = ParamSpec("_P")
_T = TypeVar("_T")


class DecodePool:
    """Decode photos in a bounded number of threads.

    Slow photos share one thread of their own and never delay fast ones. Photos for helper processes have
    threads of their own, too: a damaged one may take ``MAX_DECODE_S`` at any size. Work whose caller was
    cancelled before it began is skipped.
    """

    def __init__(self, num_threads: int) -> None:
        self._fast = ThreadPoolExecutor(num_threads, thread_name_prefix="decode")
        self._slow = ThreadPoolExecutor(1, thread_name_prefix="decode-slow")
        self._isolated = ThreadPoolExecutor(num_threads, thread_name_prefix="decode-isolated")

    async def decode(self, decoder: Callable[..., _T], file: bytes | PhotoError) -> _T:
        """Decode one uploaded file.

        Args:
            decoder: a function of ``models.images``; called with the file and ``jpeg_checked=True``.

        Raises:
            PhotoError: the file was rejected while it was received, or cannot be decoded.
        """
        if isinstance(file, PhotoError):
            raise file
        work = partial(decoder, file, jpeg_checked=True)  # is_slow checks it
        first = self._fast.submit(self._decode_or_defer, file, work)
        try:
            result = await asyncio.wrap_future(first)
        except asyncio.CancelledError:
            first.add_done_callback(_cancel_deferred)
            raise
        return await asyncio.wrap_future(result) if isinstance(result, Future) else result

    async def run(self, work: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs) -> _T:
        """Run other CPU work in one of the threads."""
        return await asyncio.wrap_future(self._fast.submit(work, *arguments, **options))

    def _decode_or_defer(self, file: bytes, work: Callable[[], _T]) -> _T | Future[_T]:
        """Decode a fast photo in this thread; return the future of another."""
        if is_slow(file):
            return self._slow.submit(_timed, work)
        return self._isolated.submit(_timed, work) if _is_isolated(file) else _timed(work)


def is_slow(data: bytes) -> bool:
    """Estimate from headers and markers whether decoding a photo is slow.

    Raises:
        UnreadableImageError: a JPEG with too many scans or segments.
    """
    try:
        format = recognise_format(data)
    except PhotoError:
        return False  # the decoder rejects it
    if format.name == "JPEG":  # a JPEG of one scan is decoded at a reduced size
        return jpeg_decoding_cost(data) > _JPEG_FACTOR * MAX_FAST_PX
    width, height = header_size(data, format) or (0, 0)
    return width * height > (MAX_FAST_ISOLATED_PX if format.is_isolated else MAX_FAST_PX)


def _is_isolated(data: bytes) -> bool:
    try:
        return recognise_format(data).is_isolated
    except PhotoError:
        return False


def return_large_buffers() -> None:
    """Let glibc return freed buffers of pixels to the system, for the whole process.

    By default it moves buffers of up to 32 MB into its heaps, where small objects keep them from being
    returned: a process of three threads grew from 95 to 196 MB in 36,000 small photos, and now stays at 88.
    A gateway with networks does not call this: networks become slower by it
    (docs/decisions/0046-networks-in-the-gateway.md).
    """
    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)


def _timed(work: Callable[[], _T]) -> _T:
    started = time.monotonic()
    try:
        return work()
    finally:
        metrics.decode_seconds().observe(time.monotonic() - started)


def _cancel_deferred(first: Future[Any]) -> None:
    """Cancel the deferred decoding that a cancelled call started after all."""
    if not first.cancelled() and first.exception() is None and isinstance(first.result(), Future):
        first.result().cancel()
