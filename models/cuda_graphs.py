"""Run a function on batches of fixed sizes on a GPU by CUDA graphs.

Axes: B image of a batch, H row, W column, C channel.
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


class CudaGraphRunner:
    """Run ``compute`` on batches of uint8 images, each size captured once and replayed.

    A batch is padded to one of ``sizes`` and copied through pinned memory into the input of the graph.
    Without CUDA graphs, on a CPU or after a failed capture, ``compute`` runs directly.

    Args:
        compute: function of uint8 (size, H, W, 3) on ``device`` that returns tensors with the batch axis
            first, without a copy from or to the host.
        image_shape: (H, W, 3).
        sizes: in ascending order; a larger batch is not accepted.
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
        """Compute one batch in host memory or, as a tensor, on the device.

        Returns:
            Results on the device, without padding; the next call overwrites them. Copy them to the host or
            synchronise before the next call with host memory, which reuses the pinned buffer.
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

    def capture(self) -> None:
        """Capture a graph of every size, and compare its replay with plain computation.

        A failed capture is logged once as a warning; batches then run without graphs.

        Raises:
            EngineError: a replay differs from plain computation.
            RuntimeError: the largest batch cannot be computed, for instance for lack of memory.
        """
        if not self._on_gpu:
            return
        with self._device_context():
            stream = torch.cuda.Stream()
            self._warm_up(stream)  # outside the try block: a failure of plain computation must stop the start
        try:
            # a failed capture leaves the thread on the capture stream; this context restores the stream
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
        """Run every size on the capture stream before capture, since cuDNN selects its kernels then."""
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for size in reversed(self.sizes):
                for _ in range(3):
                    self._compute(self._input[:size])
        stream.synchronize()

    def _capture_all(
        self, stream: torch.cuda.Stream
    ) -> dict[int, tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...]]]:
        """Capture all graphs in one memory pool, the largest first, which bounds the memory.

        A replay overwrites the results of the other graphs.
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
        # smooth patterns, because the features of two noise images hardly differ
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
        """Select the device for new streams, graphs and pinned memory."""
        return torch.cuda.device(self._device) if self._on_gpu else contextlib.nullcontext()
