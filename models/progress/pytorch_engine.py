"""The progress network through PyTorch, on a GPU.

Axes: B series, T photo of a series, H row, W column, C channel, N present photo of any series.
"""

from pathlib import Path

import numpy as np
import torch

from models.checkpoint import CheckpointMeta
from models.inference import ieee_float32, load_network
from models.preprocessing import normalize
from models.progress.engine import ProgressEngine
from models.progress.network import PackedIndex, ProgressNet
from models.tensor_transfer import transfer_tensors


class PyTorchProgressEngine(ProgressEngine):
    """Compute through eager PyTorch; the reference of the other engine."""

    runtime = "pytorch"

    def __init__(self, meta: CheckpointMeta, net: ProgressNet, device: str) -> None:
        super().__init__(meta, device)
        self._net = net.to(device).eval()

    @torch.inference_mode()
    def _improved(self, photo_NHWC: np.ndarray, present_BT: np.ndarray) -> np.ndarray:
        index = PackedIndex.of(torch.from_numpy(np.ascontiguousarray(present_BT)))
        photos, *positions = transfer_tensors([torch.from_numpy(photo_NHWC), *index.tensors], self.device)
        with ieee_float32(self.device):
            photo_NCHW = normalize(photos, self.meta.mean, self.meta.std)
            logits_BTC = self._net.packed(photo_NCHW, index.at(positions))
        improved = self.meta.labels.index("improved")
        return logits_BTC.softmax(2)[..., improved].cpu().numpy()


def load_pytorch_engine(folder: Path, meta: CheckpointMeta, device: str) -> PyTorchProgressEngine:
    """Load a progress checkpoint onto ``device``.

    Raises:
        CheckpointError: the weights are missing or damaged, or do not fit the network.
    """
    return PyTorchProgressEngine(meta, load_network(ProgressNet, folder, meta), device)
