"""Select the class of a lesion checkpoint's network by its architecture."""

from collections.abc import Mapping
from pathlib import Path

from models.checkpoint import CheckpointMeta
from models.inference import load_network
from models.lesion.network import LesionEnsemble, LesionNet
from models.lesion.shapes import RESNET50, SMALL_NETWORK, network_name
from models.lesion.small_network import SmallLesionNet

SingleLesionNet = LesionNet | SmallLesionNet
AnyLesionNet = SingleLesionNet | LesionEnsemble
NETWORK_CLASSES: Mapping[str, type[SingleLesionNet]] = {RESNET50: LesionNet, SMALL_NETWORK: SmallLesionNet}


def load_lesion_network(folder: Path, meta: CheckpointMeta) -> AnyLesionNet:
    """Build the network of a lesion checkpoint and load its weights, on the CPU.

    Raises:
        CheckpointError: the weights are damaged or do not fit.
    """
    network: type[AnyLesionNet] = NETWORK_CLASSES[network_name(meta.architecture)]
    if network is LesionNet and "num_members" in meta.architecture:
        network = LesionEnsemble
    arguments = {key: value for key, value in meta.architecture.items() if key != "network"}
    return load_network(network, folder, meta.model_copy(update={"architecture": arguments}))
