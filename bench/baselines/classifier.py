"""What every peer holds: a photo decoded as one does with Pillow, and the network in one of two engines.

The peers' own launchers start them, so environment variables tell them what to load: ``PEER_ENGINE`` is
``eager`` (PyTorch as everybody writes it) or an engine of ``models.lesion.runtimes``, ``PEER_WORKERS`` how
many processes share the cores.
"""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image

from models.checkpoint import load_weights, read_meta
from models.lesion.engine_loader import load_lesion_engine
from models.lesion.network import LesionNet
from models.lesion.runtimes import EngineName

MAX_BATCH_SIZE = 8
BATCH_WAIT_S = 0.005
WORKERS = int(os.environ.get("PEER_WORKERS", "1"))
THREADS = max(1, len(os.sched_getaffinity(0)) // WORKERS)


class Classifier:
    """Answers with the checkpoint in ``PEER_CHECKPOINT``; axes: B photo, H row, W column, C channel."""

    def __init__(self) -> None:
        folder = Path(os.environ["PEER_CHECKPOINT"])
        engine = os.environ["PEER_ENGINE"]
        self.meta = read_meta(folder)
        if engine == "eager":
            torch.set_num_threads(THREADS)
            net = LesionNet(**self.meta.architecture)
            net.load_state_dict(load_weights(folder, self.meta))
            self._net = net.eval()
            self._ask = self._ask_eager
        else:
            self._engine = load_lesion_engine(folder, num_threads=THREADS, engine=cast(EngineName, engine))
            self._ask = self._ask_ours
        self(np.zeros((1, self.meta.input_px, self.meta.input_px, 3), np.uint8))

    def decode(self, data: bytes) -> np.ndarray:
        """Return one JPEG as uint8 (H, W, C) at the size of the network."""
        return self.fit(Image.open(io.BytesIO(data)))

    def fit(self, image: Image.Image) -> np.ndarray:
        """Return an opened photo as uint8 (H, W, C) at the size of the network."""
        side = self.meta.input_px
        return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR))

    def __call__(self, image_BHWC: np.ndarray) -> list[dict[str, Any]]:
        """Return one answer a photo."""
        malignant_B, diagnosis_BK = self._ask(image_BHWC)
        return [
            {"malignant_probability": malignant, "diagnoses": dict(zip(self.meta.labels, row, strict=True))}
            for malignant, row in zip(malignant_B.tolist(), diagnosis_BK.tolist(), strict=True)
        ]

    @torch.inference_mode()
    def _ask_eager(self, image_BHWC: np.ndarray) -> Sequence[np.ndarray]:
        mean, std = torch.tensor(self.meta.mean), torch.tensor(self.meta.std)
        normal_BHWC = (torch.from_numpy(image_BHWC).float() / 255 - mean) / std
        logits = self._net(normal_BHWC.permute(0, 3, 1, 2))
        return logits.risk_BR.softmax(1)[:, 1].numpy(), logits.diagnosis_BK.softmax(1).numpy()

    def _ask_ours(self, image_BHWC: np.ndarray) -> Sequence[np.ndarray]:
        answer = self._engine(image_BHWC)
        return answer.malignant_B, answer.diagnosis_BK
