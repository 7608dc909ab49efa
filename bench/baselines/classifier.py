"""Lesion classifier of every baseline: Pillow and plain PyTorch, or the whole pipeline of skinserve.

The baselines' own launchers start the processes, so environment variables hold the settings:
``BASELINE_CHECKPOINT``, ``BASELINE_ENGINE`` (``eager`` for Pillow and plain PyTorch, or one of
``models.lesion.runtimes`` for ``bench.pipeline``) and ``BASELINE_WORKERS`` (processes that share the cores).
"""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image

from bench.pipeline import Pipeline
from models.checkpoint import load_weights, read_meta
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
        if engine == "eager":
            self._pipeline: Pipeline | EagerPipeline = EagerPipeline(folder)
        else:
            self._pipeline = Pipeline(folder, num_threads=THREADS, engine=cast(EngineName, engine))

    def prepare(self, data: bytes) -> Any:
        """Return the input of the network for one JPEG."""
        return self._pipeline.prepare(data)

    def __call__(self, prepared: Sequence[Any]) -> list[dict[str, Any]]:
        """Return the response of each prepared photo."""
        malignant_B, diagnosis_BK = self._pipeline.classify(prepared)
        labels = self._pipeline.meta.labels
        return [
            {"malignant_probability": malignant, "diagnoses": dict(zip(labels, row, strict=True))}
            for malignant, row in zip(malignant_B.tolist(), diagnosis_BK.tolist(), strict=True)
        ]


class EagerPipeline:
    """Decode with Pillow at full size, resize, and compute in plain PyTorch."""

    def __init__(self, folder: Path) -> None:
        torch.set_num_threads(THREADS)
        self.meta = read_meta(folder)
        net = LesionNet(**self.meta.architecture)
        net.load_state_dict(load_weights(folder, self.meta))
        self._net = net.eval()
        self.classify([np.zeros((self.meta.input_px, self.meta.input_px, 3), np.uint8)])

    def prepare(self, data: bytes) -> np.ndarray:
        """Decode one JPEG to uint8 (H, W, C) in the input size of the network."""
        side = self.meta.input_px
        image = Image.open(io.BytesIO(data)).convert("RGB")
        return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))

    @torch.inference_mode()
    def classify(self, prepared: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return the probabilities of malignant and of each diagnosis."""
        mean, std = torch.tensor(self.meta.mean), torch.tensor(self.meta.std)
        normal_BHWC = (torch.from_numpy(np.stack(prepared)).float() / 255 - mean) / std
        logits = self._net(normal_BHWC.permute(0, 3, 1, 2))
        return logits.risk_BR.softmax(1)[:, 1].numpy(), logits.diagnosis_BK.softmax(1).numpy()
