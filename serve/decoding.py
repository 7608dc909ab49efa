"""Photos decoded in threads of their own, a bounded number at once, so that the event loop stays free."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class DecodingPool:
    """Runs what needs the CPU for a while; work that nobody waits for any more is not begun."""

    def __init__(self, num_threads: int) -> None:
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="decode")

    async def run(self, work: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs) -> _T:
        """Run ``work`` in one of the threads, when one is free."""
        return await asyncio.wrap_future(self._threads.submit(work, *arguments, **options))
