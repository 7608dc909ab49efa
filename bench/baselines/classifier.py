"""Lesion classifier of every baseline: Pillow decodes, one of two engines computes.

The baselines' own launchers start the processes, so environment variables hold the settings:
``BASELINE_CHECKPOINT``, ``BASELINE_ENGINE`` (``eager`` for plain PyTorch, or one of
``models.lesion.runtimes``) and ``BASELINE_WORKERS`` (processes that share the cores).
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
WORKERS = int(os.environ.get("BASELINE_WORKERS", "1"))
THREADS = max(1, len(os.sched_getaffinity(0)) // WORKERS)


class Classifier:
    """Classify batches with ``BASELINE_CHECKPOINT``; axes: B photo, H row, W column, C channel."""

    def __init__(self) -> None:
        folder = Path(os.environ["BASELINE_CHECKPOINT"])
        engine = os.environ["BASELINE_ENGINE"]
        self.meta = read_meta(folder)
        if engine == "eager":
            torch.set_num_threads(THREADS)
            net = LesionNet(**self.meta.architecture)
            net.load_state_dict(load_weights(folder, self.meta))
            self._net = net.eval()
            self._predict = self._predict_eager
        else:
            self._engine = load_lesion_engine(folder, num_threads=THREADS, engine=cast(EngineName, engine))
            self._predict = self._predict_with_engine
        self(np.zeros((1, self.meta.input_px, self.meta.input_px, 3), np.uint8))

    def decode(self, data: bytes) -> np.ndarray:
        """Decode one JPEG to uint8 (H, W, C) in the input size of the network."""
        return self.resize(Image.open(io.BytesIO(data)))

    def resize(self, image: Image.Image) -> np.ndarray:
        """Resize an opened photo to uint8 (H, W, C) in the input size of the network."""
        side = self.meta.input_px
        return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR))

    def __call__(self, image_BHWC: np.ndarray) -> list[dict[str, Any]]:
        """Return the response of each photo."""
        malignant_B, diagnosis_BK = self._predict(image_BHWC)
        return [
            {"malignant_probability": malignant, "diagnoses": dict(zip(self.meta.labels, row, strict=True))}
            for malignant, row in zip(malignant_B.tolist(), diagnosis_BK.tolist(), strict=True)
        ]

    @torch.inference_mode()
    def _predict_eager(self, image_BHWC: np.ndarray) -> Sequence[np.ndarray]:
        mean, std = torch.tensor(self.meta.mean), torch.tensor(self.meta.std)
        normal_BHWC = (torch.from_numpy(image_BHWC).float() / 255 - mean) / std
        logits = self._net(normal_BHWC.permute(0, 3, 1, 2))
        return logits.risk_BR.softmax(1)[:, 1].numpy(), logits.diagnosis_BK.softmax(1).numpy()

    def _predict_with_engine(self, image_BHWC: np.ndarray) -> Sequence[np.ndarray]:
        output = self._engine(image_BHWC)
        return output.malignant_B, output.diagnosis_BK
