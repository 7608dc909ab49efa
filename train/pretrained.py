"""Initialise a network from the weights of a checkpoint of the same task."""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from models.checkpoint import CheckpointError, CheckpointMeta, load_weights, read_meta
from models.errors import SkinserveError
from models.storage import StorageError, fetch_folder

log = logging.getLogger(__name__)

RANDOM = "random"
DESCRIPTIONS = {
    RANDOM: "random weights",
    "imagenet": "torchvision's ImageNet weights",
    "keras": "Keras's ImageNet weights",
}
"""Of the values of ``init``; "keras" only in checkpoints of earlier versions."""


class PretrainedWeightsError(SkinserveError):
    """The pretrained weights cannot be read, or do not fit the network."""


def initialization_of(training: Mapping[str, Any]) -> str:
    """Describe the initial weights of a network from the training settings in its ``meta.json``."""
    init = training.get("init", "")
    return training.get("start") or DESCRIPTIONS.get(init, "the weights of another checkpoint")


def load_checkpoint_weights(
    net: nn.Module, init: str, *, kind: str, labels: Sequence[str] = (), label_layer: str = ""
) -> str:
    """Load the weights of a checkpoint into ``net`` and describe their origin, over all stages.

    Args:
        init: address of the checkpoint folder, or random: ``net`` stays as it is.
        kind: of the checkpoint that is needed.
        labels: of the network's columns.
        label_layer: prefix of the layer with one column for each label; it stays random if the labels differ.

    Raises:
        PretrainedWeightsError: the weights cannot be read, or are of another kind or shape.
    """
    if init == RANDOM:
        return DESCRIPTIONS[RANDOM]
    meta, weights = _load(init, kind)
    if label_layer and tuple(meta.labels) != tuple(labels):
        log.warning(
            "--init %s has the labels %s; this run's data has %s: the last layer of the diagnosis head stays "
            "random",
            init,
            ", ".join(meta.labels),
            ", ".join(labels),
        )
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith(label_layer)}
    try:
        missing, unexpected = net.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise PretrainedWeightsError(f"--init {init} has layers of other shapes: {error}") from error
    if unexpected or any(not (label_layer and name.startswith(label_layer)) for name in missing):
        raise PretrainedWeightsError(f"--init {init} has other layers than this network; use --init random")
    return (
        f"the weights of {meta.name} {meta.version} (sha256 {meta.weights_sha256[:12]}), "
        f"which began as {initialization_of(meta.training)}"
    )


def _load(init: str, kind: str) -> tuple[CheckpointMeta, dict[str, Tensor]]:
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = fetch_folder(init, Path(scratch))
            meta = read_meta(folder)
            weights = load_weights(folder, meta)
    except (CheckpointError, StorageError) as error:
        raise PretrainedWeightsError(f"--init {init}: {error}") from error
    if meta.kind != kind:
        raise PretrainedWeightsError(
            f"--init {init} is a {meta.kind} checkpoint, this run trains a {kind} network"
        )
    return meta, weights
