"""Copy tensors between host memory and a device in as few transfers as possible."""

from collections.abc import Sequence

import torch
from torch import Tensor

ALIGNMENT_BYTES = 16


def transfer_tensors(tensors: Sequence[Tensor], device: torch.device | str) -> list[Tensor]:
    """Copy host tensors to a device in one asynchronous transfer from pinned memory.

    Returns:
        Tensors of the same shapes and types on ``device``; on a CPU the inputs themselves.
    """
    if torch.device(device).type == "cpu":
        return list(tensors)
    starts, end = [], 0
    for tensor in tensors:
        starts.append(end)
        end += -(-tensor.nbytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
    packed = torch.empty(end, dtype=torch.uint8, pin_memory=True)
    for tensor, start in zip(tensors, starts, strict=True):
        packed[start : start + tensor.nbytes].copy_(tensor.contiguous().reshape(-1).view(torch.uint8))
    on_device = packed.to(device, non_blocking=True)
    return [
        on_device[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        for tensor, start in zip(tensors, starts, strict=True)
    ]
