"""Predictions of networks and engines for labelled photos.

Axes: B photo, H row, W column, C colour, K diagnosis, R risk group.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from models.lesion.engine import LesionEngine, LesionOutput
from models.lesion.network import LesionLogits
from models.lesion.networks import AnyLesionNet
from train.data.split import groups_of
from train.lesion.calibration import LabelledLogits
from train.lesion.dataset import LesionPhotos, normalized

BATCH_SIZE = 64


@torch.inference_mode()
def predict_logits(net: AnyLesionNet, photos: LesionPhotos) -> LabelledLogits:
    """Return a network's logits for photos, computed in float32 on the network's device."""
    net.eval()
    device = next(net.parameters()).device
    logits: list[LesionLogits] = [
        net(normalized(torch.from_numpy(image_BHWC).to(device))) for image_BHWC in batches_of(photos)
    ]
    return LabelledLogits(
        risk_BR=torch.cat([batch.risk_BR for batch in logits]).cpu().numpy(),
        diagnosis_BK=torch.cat([batch.diagnosis_BK for batch in logits]).cpu().numpy(),
        malignant_B=photos.malignant_B.numpy(),
        truth_B=photos.diagnosis_B.numpy(),
        group_B=groups_of(photos.rows),
    )


def predict(engine: LesionEngine, batches: Iterable[np.ndarray]) -> LesionOutput:
    """Return an engine's probabilities for all batches."""
    outputs = [engine(image_BHWC) for image_BHWC in batches]
    return LesionOutput(
        malignant_B=np.concatenate([output.malignant_B for output in outputs]),
        diagnosis_BK=np.concatenate([output.diagnosis_BK for output in outputs]),
    )


def batches_of(photos: LesionPhotos) -> Iterator[np.ndarray]:
    """Yield the photos in order, uint8 (B, H, W, C)."""
    for start in range(0, len(photos), BATCH_SIZE):
        indices = list(range(start, min(start + BATCH_SIZE, len(photos))))
        yield photos.__getitems__(indices)["image"].numpy()
