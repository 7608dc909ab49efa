"""One function on batches of fixed sizes on a GPU, each size recorded once as a CUDA graph and replayed.

Axes: B example of a batch; the others are those of the examples.
"""

import contextlib
import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

log = logging.getLogger("skinserve")

MAX_REPLAY_ERROR = 0.05
"""Largest relative difference between replay and computation (docs/decisions/0015-cuda-graphs.md)."""
_PATTERN_PX = 4


class EngineError(RuntimeError):
    """Report wrong results of an engine on its device."""


class GraphedBatches:
    """Run ``compute`` on batches of uint8 images.

    A batch is padded to one of ``sizes``. Its images go through pinned memory into the input of the graph.
    On a CPU, or where CUDA graphs cannot be recorded, ``compute`` runs instead of a graph.

    Args:
        compute: takes uint8 (size, H, W, 3) on ``device`` and returns tensors with the batch first; copies
            nothing from or to the host.
        image_shape: (H, W, 3).
        sizes: in ascending order; larger batches are not accepted.
    """

    def __init__(
        self,
        compute: Callable[[Tensor], tuple[Tensor, ...]],
        image_shape: tuple[int, ...],
        sizes: Sequence[int],
        device: str,
    ) -> None:
        self.sizes = tuple(sizes)
        self._compute = compute
        self._device = torch.device(device)
        self._on_gpu = self._device.type == "cuda"
        with self._device_context():
            self._input = torch.zeros((max(sizes), *image_shape), dtype=torch.uint8, device=self._device)
            self._staging = torch.zeros((max(sizes), *image_shape), dtype=torch.uint8)
            if self._on_gpu:
                self._staging = self._staging.pin_memory()
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...]]] = {}

    @property
    def uses_graphs(self) -> bool:
        """Whether batches are replayed."""
        return bool(self._graphs)

    def __call__(self, image_BHWC: np.ndarray | Tensor) -> tuple[Tensor, ...]:
        """Compute one batch from host memory, or from the device if it is a tensor there.

        Returns:
            Results on the device, without padding; the next call overwrites them. Copy them to the host, or
            synchronise, before the next call with host memory: it reuses the pinned buffer.
        """
        num = len(image_BHWC)
        size = min(size for size in self.sizes if size >= num)
        with self._device_context():
            if isinstance(image_BHWC, np.ndarray):
                staged = self._staging[:num]
                staged.copy_(torch.from_numpy(image_BHWC))
                self._input[:num].copy_(staged, non_blocking=True)
            else:
                self._input[:num].copy_(image_BHWC)
            if size in self._graphs:
                graph, results = self._graphs[size]
                graph.replay()
            else:
                results = self._compute(self._input[:size])
        return tuple(result[:num] for result in results)

    def record(self) -> None:
        """Record every size, and compare replay with computation.

        Where capture fails, one warning is logged and batches are computed without graphs.

        Raises:
            EngineError: a replay gives another result than computation.
            RuntimeError: the largest batch cannot be computed, for instance for lack of memory.
        """
        if not self._on_gpu:
            return
        with self._device_context():
            stream = torch.cuda.Stream()
            self._warm_up(stream)  # not below: what cannot be computed at all must stop the start
        try:
            # A failed capture leaves the thread on the capture stream; this context leads back.
            with self._device_context(), torch.cuda.stream(torch.cuda.current_stream()):
                self._graphs = self._capture_all(stream)
        except RuntimeError as error:
            log.warning(
                "CUDA graph capture failed on %s (%s); batches run without graphs, small ones slower",
                self._device,
                (str(error).splitlines() or [type(error).__name__])[0],
            )
            return
        for size in (*self.sizes, *reversed(self.sizes)):
            self._check(size)

    def _warm_up(self, stream: torch.cuda.Stream) -> None:
        """Compute every size on the capture stream, so that cuDNN has chosen its kernels."""
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for size in reversed(self.sizes):
                for _ in range(3):
                    self._compute(self._input[:size])
        stream.synchronize()

    def _capture_all(
        self, stream: torch.cuda.Stream
    ) -> dict[int, tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...]]]:
        """Capture all graphs in one memory pool, the largest first, so that smaller ones need no more memory.

        A replay overwrites the results of other graphs; ``__call__`` returns those of the last one only.
        """
        graphs: dict[int, tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...]]] = {}
        pool = torch.cuda.graph_pool_handle()
        for size in reversed(self.sizes):
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool, stream=stream):
                results = self._compute(self._input[:size])
            graphs[size] = graph, results
        torch.cuda.current_stream().wait_stream(stream)
        return graphs

    def _check(self, size: int) -> None:
        # smooth patterns: the features of two photos of noise hardly differ
        pattern_BCHW = torch.randint(0, 256, (size, 3, _PATTERN_PX, _PATTERN_PX)).float()
        image_BCHW = nn.functional.interpolate(pattern_BCHW, size=self._input.shape[1:3], mode="bilinear")
        image_BHWC = image_BCHW.movedim(1, -1).to(torch.uint8).contiguous()
        replayed = [result.float().clone() for result in self(image_BHWC.numpy())]
        with self._device_context():
            computed = [result.float() for result in self._compute(self._input[:size])]
        for found, expected in zip(replayed, computed, strict=True):
            error = float((found - expected).norm() / expected.norm().clamp_min(1e-12))
            if not error <= MAX_REPLAY_ERROR:
                raise EngineError(
                    f"batch size {size}: CUDA graph replay on {self._device} differs from plain computation "
                    f"by {error:.3g}, at most {MAX_REPLAY_ERROR} is allowed; set engine: pytorch in the "
                    "config, and report the versions of driver and PyTorch to the maintainers"
                )

    def _device_context(self) -> contextlib.AbstractContextManager[object]:
        """Make the device current: streams, graphs and pinned memory are of the current one."""
        return torch.cuda.device(self._device) if self._on_gpu else contextlib.nullcontext()
