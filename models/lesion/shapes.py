"""Names of the lesion networks and of their stored weights; importable without torch."""

from collections.abc import Mapping
from typing import Any, TypeVar

RESNET50 = "resnet50"
"""The network of a checkpoint whose architecture names none."""
FINE_STRIDE_BELOW_PX = 160
"""Smaller inputs use stride 1 in the last stage; its feature map would have only 2 to 5 cells a side."""
STORED_PREFIX, PREFIX = "trunk.", "backbone."
"""The backbone's parameters of a ResNet50 in stored weights (format version 1), and in the network."""
SMALL_PARTS = ("stem.", "blocks.", "top.")
"""Of the small network's backbone, which has no prefix in stored weights."""
SMALL_NETWORK = "efficientnet-lite0"
"""Name of the small network in the architecture of a checkpoint."""
NETWORKS = (RESNET50, SMALL_NETWORK)

_V = TypeVar("_V")


def network_name(architecture: Mapping[str, Any]) -> str:
    """Return the name of the network in the architecture of a checkpoint."""
    return str(architecture.get("network", RESNET50))


def from_stored(weights: Mapping[str, _V]) -> dict[str, _V]:
    """Return stored weights, of a network or an ensemble, by their names in the network."""
    renamed: dict[str, _V] = {}
    for name, value in weights.items():
        member, rest = "", name
        if name.startswith("members."):
            _, number, rest = name.split(".", 2)
            member = f"members.{number}."
        if rest.startswith(STORED_PREFIX):
            rest = PREFIX + rest.removeprefix(STORED_PREFIX)
        elif rest.startswith(SMALL_PARTS):
            rest = PREFIX + rest
        renamed[member + rest] = value
    return renamed
