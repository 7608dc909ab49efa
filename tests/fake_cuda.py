"""Run product code on "cuda" devices without a GPU: CPU tensors that claim to be on a CUDA device.

Within ``with FakeCuda() as cuda``, ``tensor.to("cuda:0")`` returns a ``FakeCudaTensor``. It computes on the
CPU, bit for bit as the CPU does, and rejects mixed devices as CUDA does. Every copy between host and device,
and every wait for the device, is recorded with the line of this repository that caused it.

``tests/fake_cuda_graph.py`` replaces streams and CUDA graphs. Tried with torch 2.14. DistributedDataParallel,
compilation and memory limits are not covered.
"""

import contextlib
import sys
import types
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import torch
from torch import Tensor

from models import preprocessing
from models.progress import skin_features
from tests import fake_cuda_tensor
from tests.fake_cuda_graph import FakeCapture, FakeGraph, FakeStream
from tests.fake_cuda_tensor import DeviceCalls

ROOT = Path(__file__).parents[1]
WAIT_IN_CAPTURE = "operation not permitted when stream is capturing"
COPY_IN_CAPTURE = (
    "Cannot copy between CPU and CUDA tensors during CUDA graph capture unless the CPU tensor is pinned, and "
    "non_blocking=True"
)


@dataclass(frozen=True)
class Event:
    """One transfer or wait."""

    kind: Literal["in", "out", "wait"]
    """``in``: host to device; ``out``: device to host; ``wait``: a synchronisation without a copy."""
    blocking: bool
    where: str
    """``path:line`` in this repository."""


@dataclass
class FakeCuda:
    """Provide the devices ``cuda:0`` and so on in a ``with`` block; ``events`` records copies and waits."""

    num_devices: int = 1
    events: list[Event] = field(default_factory=list)
    memory_fractions: dict[int, float] = field(default_factory=dict)
    """Device to the limit set by ``torch.cuda.set_per_process_memory_fraction``."""
    break_capture: str = ""
    """Error message of the next captures; empty: captures succeed."""

    def __enter__(self) -> "FakeCuda":
        assert fake_cuda_tensor.active is None, "one FakeCuda at a time"
        fake_cuda_tensor.active = self
        self.current = 0
        self.capture: FakeGraph | None = None
        self.pinned: set[int] = set()
        self.pools: dict[Any, list[FakeGraph]] = {}
        self._streams = {index: FakeStream(index) for index in range(self.num_devices)}
        FakeCapture.default_stream = None
        _clear_cached_constants()
        self._stack = contextlib.ExitStack()
        for name, stand_in in self._stand_ins().items():
            self._stack.enter_context(mock.patch(name, stand_in))
        self._stack.enter_context(DeviceCalls())
        before = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(
            True
        )  # ``param.data = `` would lose the subclass
        self._stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, before)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        _clear_cached_constants()
        fake_cuda_tensor.active = None

    def count(self, *kinds: str) -> int:
        """Return the number of events of these kinds; of all kinds without an argument."""
        return sum(event.kind in kinds or not kinds for event in self.events)

    def summary(self) -> Counter[tuple[str, str]]:
        """Return the number of events by kind and line of code."""
        return Counter((event.kind, event.where) for event in self.events)

    def record(self, kind: Literal["in", "out", "wait"], *, blocking: bool = True) -> None:
        """Record a transfer or a wait; reject it during capture as CUDA does."""
        if self.capture is not None and blocking:
            raise RuntimeError(WAIT_IN_CAPTURE if kind == "wait" else COPY_IN_CAPTURE)
        self.events.append(Event(kind, blocking, _calling_line()))

    def is_pinned(self, tensor: Tensor) -> bool:
        """Return whether a host tensor lies in memory that was pinned here."""
        return tensor.untyped_storage().data_ptr() in self.pinned

    def pin(self, tensor: Tensor) -> Tensor:
        """Mark a host tensor's memory as pinned."""
        self.pinned.add(tensor.untyped_storage().data_ptr())
        self._kept = [*getattr(self, "_kept", []), tensor.detach()]  # or its address would be reused
        return tensor

    def _stand_ins(self) -> dict[str, Any]:
        return {
            "torch.cuda.is_available": lambda: True,
            "torch.cuda.device_count": lambda: self.num_devices,
            "torch.cuda.current_device": lambda: self.current,
            "torch.cuda.device": self._device,
            "torch.cuda.Stream": FakeStream,
            "torch.cuda.stream": self._stream,
            "torch.cuda.current_stream": lambda device=None: self._streams[self.index(device)],
            "torch.accelerator.current_stream": lambda device=None: self._streams[self.index(device)],
            "torch.cuda.synchronize": lambda device=None: self.record("wait"),
            "torch.cuda.CUDAGraph": FakeGraph,
            "torch.cuda.graph": FakeCapture,
            "torch.cuda.graph_pool_handle": object,
            # below the public function, whose handling of devices is tested
            "torch.cuda.memory._lazy_init": lambda: None,
            "torch._C._cuda_setMemoryFraction": self._limit_memory,
            "torch.autocast": _Autocast,
            "torch.optim.swa_utils._group_tensors_by_device_and_dtype": _grouped,
            "torch.nn.utils.clip_grad._group_tensors_by_device_and_dtype": _grouped,
        }

    def index(self, device: Any) -> int:
        """Return the index of a device, an index or None, the current device."""
        if isinstance(device, int):
            return device
        found = None if device is None else torch.device(device).index
        return self.current if found is None else found

    @contextlib.contextmanager
    def _device(self, device: Any) -> Iterator[None]:
        before, self.current = self.current, self.index(device)
        try:
            yield
        finally:
            self.current = before

    @contextlib.contextmanager
    def _stream(self, stream: "FakeStream") -> Iterator[None]:
        before = self._streams[stream.index]
        self._streams[stream.index] = stream
        with self._device(stream.index):
            try:
                yield
            finally:
                self._streams[stream.index] = before

    def _limit_memory(self, fraction: float, index: int) -> None:
        self.memory_fractions[index] = fraction


def _clear_cached_constants() -> None:
    """Clear the tensors that product code keeps on devices, which exist for one ``with`` block only."""
    preprocessing._shift_and_scale.cache_clear()
    skin_features._skin_constants.cache_clear()


class _Autocast(torch.autocast):
    """Autocast of the CPU, which computes here, in place of CUDA's."""

    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu", *args, **kwargs)


def _grouped(lists: list[list[Tensor]]) -> dict[tuple[torch.device, torch.dtype], Any]:
    """Group tensors as torch does, by the device that they claim."""
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for number, one in enumerate(lists[0]):
        groups.setdefault((one.device, one.dtype), []).append(number)
    return {key: ([[one[i] for i in which] for one in lists], which) for key, which in groups.items()}


def _calling_line() -> str:
    """Return ``path:line`` of the innermost frame in this repository outside the stand-in."""
    frame: types.FrameType | None = sys._getframe()
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        is_ours = path.is_relative_to(ROOT) and ".venv" not in path.parts
        if is_ours and not path.name.startswith("fake_cuda"):
            return f"{path.relative_to(ROOT)}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"
