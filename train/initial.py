"""The first weights of a network: random, torchvision's for ImageNet, or another checkpoint's."""

import logging
from collections.abc import Sequence
from pathlib import Path
from urllib.error import URLError

from torch import nn

from models.checkpoint import CheckpointError, Kind, load_weights, read_meta
from models.lesion import LesionNet
from models.storage import StorageError, fetch_folder

log = logging.getLogger(__name__)

DIAGNOSIS_OUTPUT = "diagnosis_head.3"


class InitialWeightsError(ValueError):
    """The first weights cannot be had or do not fit."""


def set_initial_weights(net: nn.Module, init: str, *, kind: Kind, labels: Sequence[str], cache: Path) -> None:
    """Load what ``init`` names into ``net``.

    A checkpoint with other diagnoses gives all but the last layer of the diagnosis head, which starts anew.

    Args:
        init: random, imagenet, or the address of a checkpoint folder.
        labels: of the network's columns.
        cache: folder into which a checkpoint on S3 is fetched.

    Raises:
        InitialWeightsError: they cannot be had, or are of another kind or shape.
    """
    if init == "random":
        return
    if init == "imagenet":
        _load_imagenet(net)
        return
    try:
        folder = fetch_folder(init, cache)
        meta = read_meta(folder)
        weights = load_weights(folder, meta)
    except (CheckpointError, StorageError) as error:
        raise InitialWeightsError(f"--init {init}: {error}") from error
    if meta.kind != kind:
        raise InitialWeightsError(
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
        raise InitialWeightsError(f"--init {init} has layers of other shapes: {error}") from error
    if unexpected or any(not name.startswith(DIAGNOSIS_OUTPUT) for name in missing):
        raise InitialWeightsError(f"--init {init} has other layers than this network; use --init random")


def _load_imagenet(net: nn.Module) -> None:
    from torchvision.models import ResNet50_Weights

    assert isinstance(net, LesionNet)
    try:
        weights = ResNet50_Weights.IMAGENET1K_V2.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise InitialWeightsError(
            f"--init imagenet: torchvision's weights cannot be had ({error}); connect to the internet once, "
            f"copy {ResNet50_Weights.IMAGENET1K_V2.url.rsplit('/', 1)[1]} into "
            "~/.cache/torch/hub/checkpoints, or use --init random"
        ) from error
    weights = {name: tensor for name, tensor in weights.items() if not name.startswith("fc.")}
    net.trunk.load_state_dict(weights)
