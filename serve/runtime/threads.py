"""Threads that run an engine: how many, at which priority, and the one that loads it."""

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

COMPUTE_NICENESS = 5
"""Of compute threads on a CPU, so that the event loop can reject requests while they are busy
(docs/decisions/0010-one-batch-per-core.md)."""


@dataclass(frozen=True)
class ComputeThreads:
    """Configure the threads that compute batches."""

    number: int = 1
    set_num_cores: Callable[[int], object] = lambda _: None
    """Called in a thread before it computes, with the number of cores that it may use."""
    niceness: int = 0
    """Added to that of the process. Linux only, where each thread has its own."""

    def lower_priority(self) -> None:
        """Add ``niceness`` to the calling thread, unless the system refuses."""
        if not self.niceness or sys.platform != "linux":
            return
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):
            current = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, min(19, current + self.niceness))


ONE_THREAD = ComputeThreads()


def compute_threads(device: str, num_threads: int) -> ComputeThreads:
    """Return ``num_threads`` threads for a CPU, or one that feeds a GPU."""
    if device != "cpu":
        return ONE_THREAD
    return ComputeThreads(num_threads, _set_torch_threads, COMPUTE_NICENESS)


def _set_torch_threads(number: int) -> None:
    """Set the threads of PyTorch, in a process with an engine that needs it."""
    # None while another thread imports torch for the first time
    if set_num_threads := getattr(sys.modules.get("torch"), "set_num_threads", None):
        set_num_threads(number)


class _Engine(Protocol):
    def ping(self) -> object: ...


_E = TypeVar("_E", bound=_Engine)


def load_in_throwaway_thread(load: Callable[[], _E]) -> _E:
    """Load and ping an engine in a thread that then ends.

    A thread that computed on several cores keeps its OpenMP helper threads as long as it lives. If a process
    has more threads and helpers than cores, OpenMP lets the helpers sleep after every layer, which slows down
    single items (docs/decisions/0012-openmp-threads.md). Hence only the first thread of a ``DynamicBatcher``
    has helpers.
    """

    def load_and_ping() -> _E:
        engine = load()
        engine.ping()
        return engine

    with ThreadPoolExecutor(1, thread_name_prefix="load") as executor:
        return executor.submit(load_and_ping).result()
