"""Initialise the lesion network: random, ResNet50 weights for ImageNet, or another checkpoint."""

import contextlib
import json
import pickle
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from models.lesion.network import LesionNet
from models.storage import StorageError, read_bytes
from train.pretrained import DESCRIPTIONS, PretrainedWeightsError, load_checkpoint_weights

DIAGNOSIS_LAYER = "diagnosis_head.3"
DOWNLOAD_TIMEOUT_S = 20
"""Of each answer of the server with torchvision's weights."""


def initialize(net: LesionNet, init: str, *, labels: Sequence[str]) -> str:
    """Load the weights that ``--init`` names and describe their origin.

    Weights of a checkpoint with other diagnoses leave the last layer of the diagnosis head random.

    Args:
        init: random, imagenet, the address of a safetensors file with the weights of a ResNet50 by
            torchvision's names, or the address of a checkpoint folder.
        labels: of the network's columns.

    Raises:
        PretrainedWeightsError: the weights cannot be read or do not fit.
    """
    if init == "imagenet":
        return _load_imagenet(net)
    if init.endswith(".safetensors"):
        return _load_backbone(net, init)
    return load_checkpoint_weights(net, init, kind="lesion", labels=labels, label_layer=DIAGNOSIS_LAYER)


def _load_imagenet(net: LesionNet) -> str:
    from torchvision.models import ResNet50_Weights

    source = ResNet50_Weights.IMAGENET1K_V2
    file, cache = source.url.rsplit("/", 1)[1], Path(torch.hub.get_dir(), "checkpoints")
    try:
        with _socket_timeout(DOWNLOAD_TIMEOUT_S):
            weights = source.get_state_dict(progress=False, check_hash=True, weights_only=True)
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith("fc.")}
        net.backbone.load_state_dict(weights)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise PretrainedWeightsError(
            f"--init imagenet: torchvision's weights cannot be downloaded ({reason}); connect to the "
            f"internet once, copy {file} into {cache}, or use --init random"
        ) from error
    return DESCRIPTIONS["imagenet"]


def _load_backbone(net: LesionNet, address: str) -> str:
    """Load a safetensors file, local or on S3, and return the description in its metadata."""
    try:
        content = read_bytes(address)
        weights = safetensors.torch.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        net.backbone.load_state_dict(weights)
    except (SafetensorError, StorageError) as error:
        raise PretrainedWeightsError(f"--init {address} cannot be read: {error}") from error
    except RuntimeError as error:
        raise PretrainedWeightsError(f"--init {address} does not fit a ResNet50 backbone: {error}") from error
    return header.get("__metadata__", {}).get("description", f"the weights in {Path(address).name}")


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Limit the wait for each answer; the download has no timeout of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
