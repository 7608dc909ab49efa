"""What networks and engines say of photos whose truth is known.

Axes: B photo, H row, W column, C colour, K diagnosis, R risk group.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from models.lesion.engines import LesionEngine, LesionOutput
from models.lesion.network import LesionEnsemble, LesionLogits, LesionNet
from train.data.split import groups_of
from train.lesion.calibration import Judged
from train.lesion.dataset import LesionPhotos, normalized
from train.metrics import lesion_metrics

BATCH_SIZE = 64


def measure_lesion(engine: LesionEngine, photos: LesionPhotos) -> dict[str, Any]:
    """Return the figures of an engine on photos decoded at its input size."""
    answers = answers_of(engine, batches_of(photos))
    return lesion_metrics(
        malignant_B=photos.malignant_B.numpy(),
        diagnosis_B=photos.diagnosis_B.numpy(),
        malignant_probability_B=answers.malignant_B,
        probability_BK=answers.diagnosis_BK,
        labels=engine.meta.labels,
        threshold=engine.meta.thresholds["malignant"],
        group_B=groups_of(photos.rows),
    )


@torch.inference_mode()
def judge(net: LesionNet | LesionEnsemble, photos: LesionPhotos) -> Judged:
    """Return the logits of a network for photos, computed in float32 where the network is."""
    net.eval()
    device = next(net.parameters()).device
    logits: list[LesionLogits] = [
        net(normalized(torch.from_numpy(image_BHWC).to(device))) for image_BHWC in batches_of(photos)
    ]
    return Judged(
        risk_BR=torch.cat([one.risk_BR for one in logits]).cpu().numpy(),
        diagnosis_BK=torch.cat([one.diagnosis_BK for one in logits]).cpu().numpy(),
        malignant_B=photos.malignant_B.numpy(),
        truth_B=photos.diagnosis_B.numpy(),
        group_B=groups_of(photos.rows),
    )


def batches_of(photos: LesionPhotos) -> Iterator[np.ndarray]:
    """Yield the photos in order, uint8 (B, H, W, C)."""
    for start in range(0, len(photos), BATCH_SIZE):
        indices = list(range(start, min(start + BATCH_SIZE, len(photos))))
        yield photos.__getitems__(indices)["image"].numpy()


def answers_of(engine: LesionEngine, batches: Iterable[np.ndarray]) -> LesionOutput:
    """Return what an engine answers to all batches."""
    outputs = [engine(image_BHWC) for image_BHWC in batches]
    return LesionOutput(
        malignant_B=np.concatenate([output.malignant_B for output in outputs]),
        diagnosis_BK=np.concatenate([output.diagnosis_BK for output in outputs]),
    )
