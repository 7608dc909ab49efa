"""The streams and CUDA graphs of ``tests/fake_cuda.py``.

A graph records operations during capture and repeats them on replay. Capture rejects what a real capture
rejects, and misses work on another device than its own. Graphs that share a memory pool overwrite each
other's results on replay.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from tests.fake_cuda_tensor import FakeCudaTensor, current


class FakeStream:
    """``torch.cuda.Stream``: everything runs at once, in order."""

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        self.index = current().index(device)
        self.device = torch.device("cuda", self.index)

    def wait_stream(self, other: "FakeStream") -> None:
        """Nothing to wait for."""

    def is_capturing(self) -> bool:
        """Return whether a graph is being captured on this stream's device."""
        capture = current().capture
        return capture is not None and capture.index == self.index

    def synchronize(self) -> None:
        """Record a wait."""
        current().record("wait")


class FakeGraph:
    """``torch.cuda.CUDAGraph``: a list of operations."""

    def __init__(self) -> None:
        self.index = 0
        self.tape: list[tuple[Callable[[], Any], Any]] = []
        self.results: dict[int, Tensor] = {}
        """Memory that the graph's operations write, by its address; its inputs are not among it."""
        self.pool: list[FakeGraph] = [self]

    def add(self, run: Callable[[], Any], found: Any, arguments: list[Tensor]) -> None:
        """Record an operation."""
        self.tape.append((run, found))
        read = {_address(one.host) for one in arguments if isinstance(one, FakeCudaTensor)}
        for one in tree_flatten(found)[0]:
            if isinstance(one, FakeCudaTensor) and _address(one.host) not in read:
                self.results[_address(one.host)] = one.host

    def replay(self) -> None:
        """Repeat what was captured; results of other graphs in the same memory pool are lost."""
        for other in self.pool:
            for host in other.results.values() if other is not self else ():
                host.fill_(float("nan") if host.is_floating_point() else 77)
        for run, found in self.tape:
            for old, new in zip(tree_flatten(found)[0], tree_flatten(run())[0], strict=True):
                if isinstance(old, FakeCudaTensor) and old is not new:
                    old.host.copy_(new.host)


def _address(host: Tensor) -> int:
    return host.untyped_storage().data_ptr()


class FakeCapture:
    """``torch.cuda.graph``; without a stream it takes the one that the first capture made, on its device."""

    default_stream: FakeStream | None = None

    def __init__(
        self,
        graph: FakeGraph,
        pool: Any = None,
        stream: FakeStream | None = None,
        capture_error_mode: str = "",
    ) -> None:
        if stream is None and FakeCapture.default_stream is None:
            FakeCapture.default_stream = FakeStream()
        self._graph = graph
        self._stream = stream or FakeCapture.default_stream
        if pool is not None:
            graph.pool = current().pools.setdefault(pool, [])
            graph.pool.append(graph)

    def __enter__(self) -> None:
        assert self._stream is not None
        self._on_stream = torch.cuda.stream(self._stream)  # pyright: ignore[reportArgumentType]
        self._on_stream.__enter__()
        self._graph.index = self._stream.index
        current().capture = self._graph

    def __exit__(self, *error: Any) -> None:
        current().capture = None
        if current().break_capture:  # as torch, whose capture_end raises before it leaves the stream
            raise RuntimeError(current().break_capture)
        self._on_stream.__exit__(*error)
