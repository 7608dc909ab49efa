"""End work in threads together with the request or task that started it."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from serve.runtime.errors import ApiError

_T = TypeVar("_T")


class StopEvent(threading.Event):
    """Report to a thread that its request has ended."""

    def check(self) -> None:
        """Raise ``deadline_exceeded`` if the request has ended."""
        if self.is_set():
            raise ApiError("deadline_exceeded", "the request has ended")


async def run_to_end(
    threads: ThreadPoolExecutor, work: Callable[..., _T], *arguments: Any, stop: StopEvent | None = None
) -> _T:
    """Run work in a thread; when cancelled, set ``stop`` and wait for the end of the work."""
    future = threads.submit(work, *arguments)
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        if stop is not None:
            stop.set()
        end = asyncio.gather(asyncio.wrap_future(future), return_exceptions=True)
        while not end.done():
            with contextlib.suppress(asyncio.CancelledError):  # a second one
                await asyncio.shield(end)
        raise
