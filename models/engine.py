"""A checkpoint made ready to answer on one device: uint8 batch in, probabilities out, feature map when asked.

Axes: B request, T photo of a series, H row, W column, C channel, K diagnosis.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from models.checkpoint import CheckpointError, CheckpointMeta, Kind, load_weights, read_meta
from models.lesion import LesionEnsemble, LesionNet
from models.progress import ProgressNet
from models.taxonomy import GROUPS, Group
from models.transforms import normalize

_Net = TypeVar("_Net", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class LesionOutput:
    """What the lesion network says of a batch."""

    malignant_B: np.ndarray
    """float32, probability of malignancy."""
    diagnosis_BK: np.ndarray
    """float32, columns in the order of ``meta.labels``; each row sums to 1."""
    features_BCHW: np.ndarray | None = None
    """float32, the last feature map, when it was asked for."""


@dataclass(frozen=True, kw_only=True)
class ProgressOutput:
    """What the progress network says of a batch of series."""

    improved_BT: np.ndarray
    """float32, probability of improved after each photo; a masked photo repeats the one before it."""


class LesionEngine:
    """Answers with one lesion checkpoint, of one network or several, through PyTorch."""

    runtime = "pytorch"

    def __init__(self, meta: CheckpointMeta, net: LesionNet | LesionEnsemble, device: str) -> None:
        self.meta = meta
        self.device = device
        self._net = net.to(device).to(memory_format=torch.channels_last).eval()

    @torch.inference_mode()
    def __call__(self, image_BHWC: np.ndarray, *, features: bool = False) -> LesionOutput:
        """Classify a batch.

        Args:
            image_BHWC: uint8, (B, input_px, input_px, 3), RGB, upright.
            features: return the last feature map too.
        """
        side = self.meta.input_px
        if image_BHWC.shape[1:] != (side, side, 3) or image_BHWC.dtype != np.uint8:
            raise ValueError(
                f"got {image_BHWC.dtype} {image_BHWC.shape}, need uint8 (B, {side}, {side}, 3); "
                "decode with models.images.decode_square"
            )
        image_BCHW = normalize(torch.from_numpy(image_BHWC).to(self.device), self.meta.mean, self.meta.std)
        features_BCHW = self._net.features(image_BCHW.contiguous(memory_format=torch.channels_last))
        logits = self._net.classify(features_BCHW)
        return LesionOutput(
            malignant_B=logits.risk_BR.softmax(1)[:, GROUPS.index("malignant")].cpu().numpy(),
            diagnosis_BK=logits.diagnosis_BK.softmax(1).cpu().numpy(),
            features_BCHW=features_BCHW.contiguous().cpu().numpy() if features else None,
        )

    def heat_map(self, features_CHW: np.ndarray, group: Group) -> np.ndarray:
        """Return where the evidence for ``group`` lies, as ``grad_cam`` does: float32 (h, w), 0 to 1."""
        features = torch.from_numpy(features_CHW).to(self.device)
        return self._net.risk_map(features, GROUPS.index(group)).cpu().numpy()

    def ping(self) -> None:
        """Send one blank image through the network; raise if the answer is not a probability."""
        side = self.meta.input_px
        _check_finite(self(np.zeros((1, side, side, 3), np.uint8)).malignant_B)


class ProgressEngine:
    """Answers with one progress checkpoint through PyTorch, the reference runtime."""

    runtime = "pytorch"

    def __init__(self, meta: CheckpointMeta, net: ProgressNet, device: str) -> None:
        self.meta = meta
        self.device = device
        self._net = net.to(device).eval()

    @torch.inference_mode()
    def __call__(self, photos_BTHWC: np.ndarray, present_BT: np.ndarray) -> ProgressOutput:
        """Classify a batch of series of face crops.

        Args:
            photos_BTHWC: uint8, (B, T, input_px, input_px, 3); where a face is missing, anything.
            present_BT: bool, False where a series has no face or is already over.
        """
        side = self.meta.input_px
        if photos_BTHWC.shape[2:] != (side, side, 3) or photos_BTHWC.dtype != np.uint8:
            raise ValueError(
                f"got {photos_BTHWC.dtype} {photos_BTHWC.shape}, need uint8 (B, T, {side}, {side}, 3)"
            )
        photos = normalize(
            torch.from_numpy(np.ascontiguousarray(photos_BTHWC)).to(self.device),
            self.meta.mean,
            self.meta.std,
        )
        logits_BTC = self._net(photos, torch.from_numpy(np.ascontiguousarray(present_BT)).to(self.device))
        improved = self.meta.labels.index("improved")
        return ProgressOutput(improved_BT=logits_BTC.softmax(2)[..., improved].cpu().numpy())

    def ping(self) -> None:
        """Send two blank crops through the network; raise if the answer is not a probability."""
        side = self.meta.input_px
        _check_finite(self(np.zeros((1, 2, side, side, 3), np.uint8), np.ones((1, 2), bool)).improved_BT)


def load_lesion_engine(folder: Path, *, device: str = "cpu", num_threads: int | None = None) -> LesionEngine:
    """Load a lesion checkpoint onto ``device``; ``num_threads`` sets PyTorch's CPU threads in this process.

    Raises:
        CheckpointError: ``folder`` is no lesion checkpoint that this code understands.
    """
    meta = _meta_of_kind(folder, "lesion", num_threads)
    net = _built(LesionEnsemble if "num_members" in meta.architecture else LesionNet, folder, meta)
    return LesionEngine(meta, net, device)


def load_progress_engine(
    folder: Path, *, device: str = "cpu", num_threads: int | None = None
) -> ProgressEngine:
    """Load a progress checkpoint; as ``load_lesion_engine``."""
    meta = _meta_of_kind(folder, "progress", num_threads)
    net = _built(ProgressNet, folder, meta)
    return ProgressEngine(meta, net, device)


def _meta_of_kind(folder: Path, kind: Kind, num_threads: int | None) -> CheckpointMeta:
    meta = read_meta(folder)
    if meta.kind != kind:
        raise CheckpointError(
            f"checkpoint {folder} is a {meta.kind} network, a {kind} network is needed here"
        )
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    return meta


def _built(network: type[_Net], folder: Path, meta: CheckpointMeta) -> _Net:
    try:
        net = network(**meta.architecture)
        net.load_state_dict(load_weights(folder, meta))
    except (RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"the checkpoint {folder} does not fit {network.__name__}({meta.architecture}): {error}"
        ) from error
    return net


def _check_finite(probability: np.ndarray) -> None:
    if not np.isfinite(probability).all():
        raise RuntimeError(
            f"the engine answered {probability}, a probability is needed; load the checkpoint again"
        )
