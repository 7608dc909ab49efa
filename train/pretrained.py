"""The first weights of a network: random, torchvision's or Keras's for ImageNet, or another checkpoint's."""

import contextlib
import logging
import pickle
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.checkpoint import CheckpointError, Kind, load_weights, read_meta
from models.errors import SkinserveError
from models.lesion.network import LesionNet
from models.storage import StorageError, fetch_folder
from train.keras_resnet import KerasWeightsError, is_keras_resnet50, read_keras_resnet50

log = logging.getLogger(__name__)

STARTS = {
    "random": "random weights",
    "imagenet": "torchvision's ImageNet weights",
    "keras": "Keras's ImageNet weights",
}
DIAGNOSIS_OUTPUT = "diagnosis_head.3"
NETWORK_TIMEOUT_S = 20


class PretrainedWeightsError(SkinserveError):
    """The first weights cannot be had or do not fit."""


def pretrained_from(training: Mapping[str, Any]) -> str:
    """Return what the weights of a run or a checkpoint began as, from what it says of its training."""
    return training.get("start") or STARTS.get(training.get("init", ""), "the weights of another checkpoint")


def load_pretrained(net: nn.Module, init: str, *, kind: Kind, labels: Sequence[str], cache: Path) -> str:
    """Load what ``init`` names into ``net`` and return, in words, what that is and what it began as.

    A checkpoint with other diagnoses gives all but the last layer of the diagnosis head, which starts anew.

    Args:
        init: random, imagenet, a folder with Keras's ResNet50, or the address of a checkpoint folder.
        labels: of the network's columns.
        cache: folder into which a checkpoint on S3 is fetched.

    Raises:
        PretrainedWeightsError: they cannot be had, or are of another kind or shape.
    """
    if init == "random":
        return STARTS["random"]
    if init == "imagenet":
        _load_imagenet(net)
        return STARTS["imagenet"]
    if is_keras_resnet50(init):
        _load_keras(net, Path(init))
        return STARTS["keras"]
    try:
        folder = fetch_folder(init, cache)
        meta = read_meta(folder)
        weights = load_weights(folder, meta)
    except (CheckpointError, StorageError) as error:
        raise PretrainedWeightsError(f"--init {init}: {error}") from error
    if meta.kind != kind:
        raise PretrainedWeightsError(
            f"--init {init} is a {meta.kind} checkpoint, this run trains a {kind} network"
        )
    if meta.kind == "lesion" and tuple(meta.labels) != tuple(labels):
        log.warning(
            "--init %s knows %s; this run's data has %s: the last layer of the diagnosis head starts anew",
            init,
            ", ".join(meta.labels),
            ", ".join(labels),
        )
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith(DIAGNOSIS_OUTPUT)}
    try:
        missing, unexpected = net.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise PretrainedWeightsError(f"--init {init} has layers of other shapes: {error}") from error
    if unexpected or any(not name.startswith(DIAGNOSIS_OUTPUT) for name in missing):
        raise PretrainedWeightsError(f"--init {init} has other layers than this network; use --init random")
    return (
        f"the weights of {meta.name} {meta.version} (sha256 {meta.weights_sha256[:12]}), "
        f"which began as {pretrained_from(meta.training)}"
    )


def _load_imagenet(net: nn.Module) -> None:
    from torchvision.models import ResNet50_Weights

    assert isinstance(net, LesionNet)
    source = ResNet50_Weights.IMAGENET1K_V2
    try:
        with _socket_timeout(NETWORK_TIMEOUT_S):
            weights = source.get_state_dict(progress=False, check_hash=True, weights_only=True)
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith("fc.")}
        net.backbone.load_state_dict(weights)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        why = str(error).strip().partition("\n")[0]
        raise PretrainedWeightsError(
            f"--init imagenet: torchvision's weights cannot be had ({why}); connect to the internet once, "
            f"copy {source.url.rsplit('/', 1)[1]} into {Path(torch.hub.get_dir(), 'checkpoints')}, "
            "or use --init random"
        ) from error


def _load_keras(net: nn.Module, folder: Path) -> None:
    assert isinstance(net, LesionNet)
    try:
        net.backbone.load_state_dict(read_keras_resnet50(folder))
    except KerasWeightsError as error:
        raise PretrainedWeightsError(f"--init: {error}") from error
    except RuntimeError as error:
        raise PretrainedWeightsError(f"--init {folder} has layers of other shapes: {error}") from error


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Let every answer take so long; without a limit a network that swallows packets is waited for."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
