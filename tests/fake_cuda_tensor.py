"""The tensors of ``tests/fake_cuda.py``: CPU tensors that claim to be on a CUDA device."""

import functools
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map_only

HOST = torch.device("cpu")
aten = torch.ops.aten
WAITS = {f"aten.{name}" for name in ("_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2")}
WAITS |= {"torchvision.nms"}
"""Operations whose CUDA kernels make the host wait for a result."""

active: Any = None
"""The ``FakeCuda`` of the ``with`` block that runs."""


def current() -> Any:
    """Return the active ``FakeCuda``."""
    assert active is not None, "a FakeCudaTensor outlived its FakeCuda"
    return active


class FakeCudaTensor(Tensor):
    """A CPU tensor that claims to be on a CUDA device."""

    host: Tensor
    number: int

    @staticmethod
    def __new__(cls, host: Tensor, index: int) -> "FakeCudaTensor":
        with torch.inference_mode(False):  # a view of an ordinary tensor must not be an inference tensor
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
            return func.decompose(*args, **kwargs)  # inference mode dispatches them undecomposed
        packet = getattr(func, "overloadpacket", func)
        tensors = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, Tensor)]
        index = _common_device(func, packet, tensors)
        if str(packet) in WAITS or (
            packet in (aten.index, aten.index_put_) and _has_mask_index(args, packet)
        ):
            current().record("wait")
        run = functools.partial(_run, func, args, kwargs, index)
        found = run()
        capture = current().capture
        if capture is not None and capture.index == index:
            capture.add(run, found, tensors)
        return found


def _run(func: Any, args: Any, kwargs: Any, index: int) -> Any:
    """Compute on the host tensors; an in-place operation returns its wrapped argument."""
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
        Tensor, lambda one: wrapped[id(one)] if id(one) in wrapped else _wrap(index, one), found
    )


def _wrap(index: int, host: Tensor) -> FakeCudaTensor:
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
            continue  # CUDA accepts host tensors without axes as numbers
        if packet is aten.copy_:
            current().record("out" if number == 0 else "in")
        elif packet in (aten.index, aten.index_put_, aten._index_put_impl_) and number:
            current().record("in")
        else:
            raise RuntimeError(f"Expected all tensors to be on the same device, found cuda and cpu ({func})")
    return on_device.pop()


def _has_mask_index(args: Any, packet: Any) -> bool:
    """Return whether an index is a mask whose length CUDA must read; a fill by mask does not read it."""
    found = any(isinstance(one, Tensor) and one.dtype in (torch.bool, torch.uint8) for one in args[1])
    return found and not (packet is aten.index_put_ and args[2].numel() == 1)


class DeviceCalls(TorchFunctionMode):
    """Redirect the calls that name a device or copy from one; pass all others on."""

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
            return current().pin(args[0].clone())
        if func is Tensor.is_pinned:
            return current().is_pinned(args[0])
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
            return tree_map_only(Tensor, lambda one: _wrap(current().index(device), one), made)
        if kwargs.get("pin_memory"):
            return current().pin(func(*args, **kwargs | {"pin_memory": False}))
        return func(*args, **kwargs)


def _to(tensor: Tensor, *args: Any, copy: bool = False, **kwargs: Any) -> Tensor:
    if args and isinstance(args[0], Tensor):
        args = (args[0].device, args[0].dtype, *args[1:])
    device, dtype, non_blocking, memory_format = torch._C._nn._parse_to(*args, **kwargs)  # pyright: ignore
    kwargs = {} if memory_format is None else {"memory_format": memory_format}
    before = tensor.device
    if device is not None and device.type == "cuda":
        device = torch.device("cuda", current().index(device))
    if device is not None and device != before:
        tensor = _Move.apply(tensor, device, non_blocking)
    return Tensor.to(tensor, dtype or tensor.dtype, copy=copy, **kwargs)


class _Move(torch.autograd.Function):
    """Copy to another device, with a gradient."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, device: torch.device, non_blocking: bool) -> Tensor:
        ctx.before = tensor.device
        host = tensor.host if isinstance(tensor, FakeCudaTensor) else tensor
        if device.type == "cuda":
            current().record("in", blocking=not (non_blocking and current().is_pinned(host)))
            return FakeCudaTensor(host.clone(), current().index(device))
        current().record("out", blocking=not non_blocking)
        return host.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return _to(grads[0], ctx.before), None, None


def _copy(target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    """Copy ``source`` into ``target``; a non-blocking copy needs pinned host memory."""
    from_device, to_device = (isinstance(one, FakeCudaTensor) for one in (source, target))
    if from_device == to_device or (not source.ndim and not from_device):
        return Tensor.copy_(target, source, non_blocking)
    host = target if from_device else source
    current().record(
        "out" if from_device else "in", blocking=not (non_blocking and current().is_pinned(host))
    )
    if isinstance(target, FakeCudaTensor):
        Tensor.copy_(target, FakeCudaTensor(source.detach(), target.number))
    else:
        Tensor.copy_(target, source.host if isinstance(source, FakeCudaTensor) else source)
    return target
