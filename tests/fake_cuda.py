"""Run product code on "cuda" devices without a GPU: CPU tensors that claim to be on a CUDA device.

Within ``with FakeCuda() as cuda``, ``tensor.to("cuda:0")`` returns a ``FakeCudaTensor``. It computes on the
CPU, bit for bit as the CPU does, and rejects mixed devices as CUDA does. Every copy between host and device,
and every wait for the device, is recorded with the line of this repository that caused it.

Streams and CUDA graphs have stand-ins. A graph records operations during capture and repeats them on replay.
Capture rejects what a real capture rejects, and misses work on another device than its own. Graphs that share
a memory pool overwrite each other's results on replay.

Tried with torch 2.14. DistributedDataParallel, compilation and memory limits are out of its reach.
"""

import contextlib
import functools
import sys
import types
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map_only

from models import preprocessing as transforms
from models.progress import network as progress

ROOT = Path(__file__).parents[1]
HOST = torch.device("cpu")
aten = torch.ops.aten
WAITS = {f"aten.{name}" for name in ("_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2")}
WAITS |= {"torchvision.nms"}
"""Operations whose CUDA kernels make the host wait for a result."""
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
    """The devices ``cuda:0`` and so on, for the ``with`` block; ``events`` holds what was transferred."""

    num_devices: int = 1
    events: list[Event] = field(default_factory=list)
    memory_fractions: dict[int, float] = field(default_factory=dict)
    """Device to the limit set by ``torch.cuda.set_per_process_memory_fraction``."""
    break_capture: str = ""
    """Message of the error that the next captures raise; empty: captures work."""

    def __enter__(self) -> "FakeCuda":
        global _active
        assert _active is None, "one FakeCuda at a time"
        _active = self
        self.current = 0
        self.capture: FakeGraph | None = None
        self.pinned: set[int] = set()
        self.pools: dict[Any, list[FakeGraph]] = {}
        self._streams = {index: FakeStream(index) for index in range(self.num_devices)}
        FakeCapture.default_stream = None
        _forget_constants()
        self._stack = contextlib.ExitStack()
        for name, stand_in in self._stand_ins().items():
            self._stack.enter_context(mock.patch(name, stand_in))
        self._stack.enter_context(_Devices())
        before = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(
            True
        )  # ``param.data = `` would lose the subclass
        self._stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, before)
        return self

    def __exit__(self, *error: object) -> None:
        global _active
        self._stack.close()
        _forget_constants()
        _active = None

    def count(self, *kinds: str) -> int:
        """Return how many events of these kinds there were; of all kinds if none is named."""
        return sum(event.kind in kinds or not kinds for event in self.events)

    def summary(self) -> Counter[tuple[str, str]]:
        """Return kind and place of all events with their numbers."""
        return Counter((event.kind, event.where) for event in self.events)

    def note(self, kind: Literal["in", "out", "wait"], *, blocking: bool = True) -> None:
        """Record a transfer or a wait; reject it during capture as CUDA does."""
        if self.capture is not None and blocking:
            raise RuntimeError(WAIT_IN_CAPTURE if kind == "wait" else COPY_IN_CAPTURE)
        self.events.append(Event(kind, blocking, _place()))

    def is_pinned(self, tensor: Tensor) -> bool:
        """Return whether a host tensor lies in memory that was pinned here."""
        return tensor.untyped_storage().data_ptr() in self.pinned

    def pin(self, tensor: Tensor) -> Tensor:
        """Mark a host tensor's memory as pinned."""
        self.pinned.add(tensor.untyped_storage().data_ptr())
        self._kept = [*getattr(self, "_kept", []), tensor.detach()]  # or the address would be given out again
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
            "torch.cuda.synchronize": lambda device=None: self.note("wait"),
            "torch.cuda.CUDAGraph": FakeGraph,
            "torch.cuda.graph": FakeCapture,
            "torch.cuda.graph_pool_handle": object,
            # below the function itself, whose handling of devices is part of what is tested
            "torch.cuda.memory._lazy_init": lambda: None,
            "torch._C._cuda_setMemoryFraction": self._limit_memory,
            "torch.autocast": _Autocast,
            "torch.optim.swa_utils._group_tensors_by_device_and_dtype": _grouped,
            "torch.nn.utils.clip_grad._group_tensors_by_device_and_dtype": _grouped,
        }

    def index(self, device: Any) -> int:
        """Return the index that a device, an index or None (the current device) means."""
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


_active: FakeCuda | None = None


def _forget_constants() -> None:
    """Forget what product code keeps on devices, which exist for one ``with`` block."""
    transforms._shift_and_scale.cache_clear()
    progress._skin_constants.cache_clear()


def _cuda() -> Any:
    assert _active is not None, "a FakeCudaTensor outlived its FakeCuda"
    return _active


class FakeCudaTensor(Tensor):
    """A CPU tensor that claims to be on a CUDA device."""

    host: Tensor
    number: int

    @staticmethod
    def __new__(cls, host: Tensor, index: int) -> "FakeCudaTensor":
        with torch.inference_mode(False):  # a view of an ordinary tensor must be one too
            made = Tensor._make_wrapper_subclass(  # pyright: ignore[reportAttributeAccessIssue]
                cls,
                host.shape,
                strides=host.stride(),
                storage_offset=host.storage_offset(),
                dtype=host.dtype,
                device=HOST,
            )
        made.host, made.number = host, index
        return made

    @property
    def device(self) -> torch.device:  # pyright: ignore[reportIncompatibleVariableOverride]
        return torch.device("cuda", self.number)

    @property
    def is_cuda(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return True

    @property
    def is_cpu(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return False

    def __repr__(self, **_: Any) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        return f"FakeCudaTensor({self.host}, device='{self.device}')"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.cpu().__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
            return func.decompose(*args, **kwargs)  # in inference mode they come whole
        packet = getattr(func, "overloadpacket", func)
        tensors = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, Tensor)]
        index = _common_device(func, packet, tensors)
        if str(packet) in WAITS or (packet in (aten.index, aten.index_put_) and _masks(args, packet)):
            _cuda().note("wait")
        run = functools.partial(_run, func, args, kwargs, index)
        found = run()
        capture = _cuda().capture
        if capture is not None and capture.index == index:
            capture.add(run, found, tensors)
        return found


def _run(func: Any, args: Any, kwargs: Any, index: int) -> Any:
    """Compute on the host tensors; in-place operations return the tensor that they were given."""
    wrapped = {
        id(one.host): one for one in tree_flatten((args, kwargs))[0] if isinstance(one, FakeCudaTensor)
    }
    host_args, host_kwargs = tree_map_only(FakeCudaTensor, lambda one: one.host, (args, kwargs))
    if "device" in host_kwargs:
        host_kwargs["device"] = HOST
    with torch.inference_mode(False), torch.no_grad():
        found = func(*host_args, **host_kwargs)
    if func is aten.copy_.default and not isinstance(args[0], FakeCudaTensor):
        return args[0]
    if getattr(func, "overloadpacket", None) is aten._local_scalar_dense:
        return found
    return tree_map_only(
        Tensor, lambda one: wrapped[id(one)] if id(one) in wrapped else _on(index, one), found
    )


def _on(index: int, host: Tensor) -> FakeCudaTensor:
    return host if isinstance(host, FakeCudaTensor) else FakeCudaTensor(host, index)


def _common_device(func: Any, packet: Any, tensors: list[Tensor]) -> int:
    """Return the device that an operation runs on; record its implicit copies, or reject mixed devices."""
    on_device = {one.number for one in tensors if isinstance(one, FakeCudaTensor)}
    if len(on_device) > 1:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, got {func} on {sorted(on_device)}"
        )
    for number, one in enumerate(tensors):
        if isinstance(one, FakeCudaTensor) or (not one.ndim and packet is not aten.copy_):
            continue  # CUDA takes numbers in host tensors without axes
        if packet is aten.copy_:
            _cuda().note("out" if number == 0 else "in")
        elif packet in (aten.index, aten.index_put_, aten._index_put_impl_) and number:
            _cuda().note("in")
        else:
            raise RuntimeError(f"Expected all tensors to be on the same device, found cuda and cpu ({func})")
    return on_device.pop()


def _masks(args: Any, packet: Any) -> bool:
    """Whether an index is a mask, whose length CUDA must read; one value set by a mask is filled in."""
    found = any(isinstance(one, Tensor) and one.dtype in (torch.bool, torch.uint8) for one in args[1])
    return found and not (packet is aten.index_put_ and args[2].numel() == 1)


class _Devices(TorchFunctionMode):
    """Takes the calls that name a device or leave it; everything else passes."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.to:
            return _to(*args, **kwargs)
        if func in (Tensor.cpu, Tensor.cuda):
            return _to(args[0], HOST if func is Tensor.cpu else torch.device("cuda"))
        if func is Tensor.tolist and isinstance(args[0], FakeCudaTensor):
            return _to(args[0], HOST).tolist()
        if func in (Tensor.numpy, Tensor.__array__) and isinstance(args[0], FakeCudaTensor):
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
        if func is Tensor.pin_memory:
            return _cuda().pin(args[0].clone())
        if func is Tensor.is_pinned:
            return _cuda().is_pinned(args[0])
        if func is Tensor.copy_:
            return _copy(*args, **kwargs)
        if func is Tensor.new_tensor and isinstance(args[0], FakeCudaTensor):
            kwargs.setdefault("dtype", args[0].dtype)
            return _to(torch.tensor(*args[1:], **kwargs), args[0].device)
        device = kwargs.get("device")
        if device is not None and torch.device(device).type == "cuda" and func is not torch.device:
            kwargs["device"] = HOST
            made = func(*args, **kwargs)
            if func in (torch.tensor, torch.as_tensor, torch.asarray):
                return _to(made, torch.device(device))
            return tree_map_only(Tensor, lambda one: _on(_cuda().index(device), one), made)
        if kwargs.get("pin_memory"):
            return _cuda().pin(func(*args, **kwargs | {"pin_memory": False}))
        return func(*args, **kwargs)


def _to(tensor: Tensor, *args: Any, copy: bool = False, **kwargs: Any) -> Tensor:
    if args and isinstance(args[0], Tensor):
        args = (args[0].device, args[0].dtype, *args[1:])
    device, dtype, non_blocking, memory_format = torch._C._nn._parse_to(*args, **kwargs)  # pyright: ignore
    kwargs = {} if memory_format is None else {"memory_format": memory_format}
    before = tensor.device
    if device is not None and device.type == "cuda":
        device = torch.device("cuda", _cuda().index(device))
    if device is not None and device != before:
        tensor = _Move.apply(tensor, device, non_blocking)
    return Tensor.to(tensor, dtype or tensor.dtype, copy=copy, **kwargs)


class _Move(torch.autograd.Function):
    """A copy to another device, with its gradient."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, device: torch.device, non_blocking: bool) -> Tensor:
        ctx.before = tensor.device
        host = tensor.host if isinstance(tensor, FakeCudaTensor) else tensor
        if device.type == "cuda":
            _cuda().note("in", blocking=not (non_blocking and _cuda().is_pinned(host)))
            return FakeCudaTensor(host.clone(), _cuda().index(device))
        _cuda().note("out", blocking=not non_blocking)
        return host.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return _to(grads[0], ctx.before), None, None


def _copy(target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    """``target.copy_(source)``; between devices not blocking if the host's side is pinned."""
    from_device, to_device = (isinstance(one, FakeCudaTensor) for one in (source, target))
    if from_device == to_device or (not source.ndim and not from_device):
        return Tensor.copy_(target, source, non_blocking)
    host = target if from_device else source
    _cuda().note("out" if from_device else "in", blocking=not (non_blocking and _cuda().is_pinned(host)))
    if isinstance(target, FakeCudaTensor):
        Tensor.copy_(target, FakeCudaTensor(source.detach(), target.number))
    else:
        Tensor.copy_(target, source.host if isinstance(source, FakeCudaTensor) else source)
    return target


class FakeStream:
    """``torch.cuda.Stream``: everything runs at once, in order."""

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        self.index = _cuda().index(device)
        self.device = torch.device("cuda", self.index)

    def wait_stream(self, other: "FakeStream") -> None:
        """Nothing to wait for."""

    def is_capturing(self) -> bool:
        """Return whether a graph is being captured on this stream's device."""
        capture = _cuda().capture
        return capture is not None and capture.index == self.index

    def synchronize(self) -> None:
        """Record a wait."""
        _cuda().note("wait")


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
            graph.pool = _cuda().pools.setdefault(pool, [])
            graph.pool.append(graph)

    def __enter__(self) -> None:
        assert self._stream is not None
        self._on_stream = torch.cuda.stream(self._stream)  # pyright: ignore[reportArgumentType]
        self._on_stream.__enter__()
        self._graph.index = self._stream.index
        _cuda().capture = self._graph

    def __exit__(self, *error: Any) -> None:
        _cuda().capture = None
        if _cuda().break_capture:  # as torch, whose capture_end raises before it leaves the stream
            raise RuntimeError(_cuda().break_capture)
        self._on_stream.__exit__(*error)


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


def _place() -> str:
    """Return ``path:line`` of the innermost frame of this repository, tests of it last."""
    frame: types.FrameType | None = sys._getframe()
    place = "elsewhere"
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path != Path(__file__) and path.is_relative_to(ROOT) and ".venv" not in path.parts:
            place = f"{path.relative_to(ROOT)}:{frame.f_lineno}"
            break
        frame = frame.f_back
    return place
