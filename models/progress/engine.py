"""Inference engine of the progress network: face crops in, probability of improvement out.

Axes: B series, T photo of a series, H row, W column, C channel, N present photo of any series.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from models.checkpoint import CheckpointMeta
from models.inference import check_finite, ieee_float32, load_network, read_meta_of_kind
from models.preprocessing import normalize
from models.progress.network import PackedIndex, ProgressNet
from models.tensor_transfer import transfer_tensors


@dataclass(frozen=True, kw_only=True)
class ProgressOutput:
    """Probabilities of a batch of series."""

    improved_BT: np.ndarray
    """float32, probability of improved after each photo; an absent photo repeats the value before it."""


class ProgressEngine:
    """Run one progress checkpoint in float32 through PyTorch."""

    runtime = "pytorch"

    def __init__(self, meta: CheckpointMeta, net: ProgressNet, device: str) -> None:
        self.meta = meta
        self.device = device
        self._net = net.to(device).eval()

    @torch.inference_mode()
    def __call__(self, photos_BTHWC: np.ndarray, present_BT: np.ndarray) -> ProgressOutput:
        """Classify a batch of series of face crops.

        Args:
            photos_BTHWC: uint8, (B, T, input_px, input_px, 3); any values where a photo is absent.
            present_BT: bool, False for a photo without a face and after the end of a series.
        """
        side = self.meta.input_px
        if photos_BTHWC.shape[2:] != (side, side, 3) or photos_BTHWC.dtype != np.uint8:
            raise ValueError(
                f"got {photos_BTHWC.dtype} {photos_BTHWC.shape}, need uint8 (B, T, {side}, {side}, 3)"
            )
        host_NHWC = torch.from_numpy(photos_BTHWC[present_BT])
        index = PackedIndex.of(torch.from_numpy(np.ascontiguousarray(present_BT)))
        photo_NHWC, *positions = transfer_tensors([host_NHWC, *index.tensors], self.device)
        with ieee_float32(self.device):
            photo_NCHW = normalize(photo_NHWC, self.meta.mean, self.meta.std)
            logits_BTC = self._net.packed(photo_NCHW, index.at(positions))
        improved = self.meta.labels.index("improved")
        return ProgressOutput(improved_BT=logits_BTC.softmax(2)[..., improved].cpu().numpy())

    def ping(self) -> None:
        """Classify two blank crops; raise if the result is not a probability."""
        side = self.meta.input_px
        check_finite(self(np.zeros((1, 2, side, side, 3), np.uint8), np.ones((1, 2), bool)).improved_BT)


def load_progress_engine(
    folder: Path, *, device: str = "cpu", num_threads: int | None = None
) -> ProgressEngine:
    """Load a progress checkpoint onto ``device``.

    Args:
        num_threads: threads of PyTorch in this process.

    Raises:
        CheckpointError: ``folder`` is no progress checkpoint of this format version.
    """
    meta = read_meta_of_kind(folder, "progress")
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    return ProgressEngine(meta, load_network(ProgressNet, folder, meta), device)
