"""Select the class of a lesion checkpoint's network by its architecture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.checkpoint import CheckpointError, CheckpointMeta
from models.inference import load_network
from models.lesion.network import LesionEnsemble, LesionNet
from models.lesion.small_network import SMALL_NETWORK, SmallLesionNet

SingleLesionNet = LesionNet | SmallLesionNet
AnyLesionNet = SingleLesionNet | LesionEnsemble
RESNET50 = "resnet50"
"""The network of a checkpoint whose architecture names none."""
NETWORKS: Mapping[str, type[SingleLesionNet]] = {RESNET50: LesionNet, SMALL_NETWORK: SmallLesionNet}


def network_name(architecture: Mapping[str, Any]) -> str:
    """Return the name of the network in the architecture of a checkpoint."""
    return str(architecture.get("network", RESNET50))


def load_lesion_network(folder: Path, meta: CheckpointMeta) -> AnyLesionNet:
    """Build the network of a lesion checkpoint and load its weights, on the CPU.

    Raises:
        CheckpointError: there is no such network, or the weights are damaged or do not fit.
    """
    name = network_name(meta.architecture)
    network: type[AnyLesionNet] | None = NETWORKS.get(name)
    if network is None:
        raise CheckpointError(
            f"checkpoint {folder} has the network {name!r}, this code has {', '.join(NETWORKS)}; serve it "
            "with the code that made it"
        )
    if network is LesionNet and "num_members" in meta.architecture:
        network = LesionEnsemble
    arguments = {key: value for key, value in meta.architecture.items() if key != "network"}
    return load_network(network, folder, meta.model_copy(update={"architecture": arguments}))
