"""Shared parts of the inference engines of PyTorch."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from models.checkpoint import CheckpointError, CheckpointMeta, load_weights

_Net = TypeVar("_Net", bound=nn.Module)


def load_network(network: type[_Net], folder: Path, meta: CheckpointMeta) -> _Net:
    """Build a network by the architecture in ``meta`` and load its weights, on the CPU.

    Raises:
        CheckpointError: the weights are missing or damaged, or do not fit the network.
    """
    try:
        with torch.device("meta"):  # skips the initialisation with random weights
            net = network(**meta.architecture)
        net.load_state_dict(load_weights(folder, meta), assign=True)
    except (RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"the checkpoint {folder} does not fit {network.__name__}({meta.architecture}): {error}"
        ) from error
    return net


@contextlib.contextmanager
def ieee_float32(device: str) -> Iterator[None]:
    """Disable TF32 on a GPU: PyTorch uses it for convolutions, with a mantissa of 10 bits."""
    if device == "cpu":
        yield
        return
    backends = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)  # pyright: ignore
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision
