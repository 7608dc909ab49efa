"""Shared parts of all inference engines."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from models.checkpoint import CheckpointError, CheckpointMeta, load_weights, read_meta

_Net = TypeVar("_Net", bound=nn.Module)


def read_meta_of_kind(folder: Path, kind: str) -> CheckpointMeta:
    """Read ``meta.json`` of a checkpoint and check its kind.

    Raises:
        CheckpointError: ``folder`` is no checkpoint, or one of another kind.
    """
    meta = read_meta(folder)
    if meta.kind != kind:
        raise CheckpointError(
            f"checkpoint {folder} is a {meta.kind} network, a {kind} network is needed here"
        )
    return meta


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


def check_finite(probability: np.ndarray) -> None:
    """Check the result of an engine's ping.

    Raises:
        RuntimeError: a value is infinite or not a number.
    """
    if not np.isfinite(probability).all():
        raise RuntimeError(
            f"the engine answered {probability}, a probability is needed; load the checkpoint again"
        )
