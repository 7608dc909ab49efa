"""Pure functions on tensors.

Axes: B image or series, T photo of a series, K diagnosis, R risk group, C class.
"""

import torch.nn.functional as F
from torch import Tensor

from models.lesion import LesionLogits


def lesion_loss(
    logits: LesionLogits, malignant_B: Tensor, diagnosis_B: Tensor, *, label_smoothing: float = 0.0
) -> Tensor:
    """Return the sum of both heads' cross entropies for each image, (B,), in nats."""
    risk = F.cross_entropy(
        logits.risk_BR.float(), malignant_B, reduction="none", label_smoothing=label_smoothing
    )
    diagnosis = F.cross_entropy(
        logits.diagnosis_BK.float(), diagnosis_B, reduction="none", label_smoothing=label_smoothing
    )
    return risk + diagnosis


def progress_loss(
    logits_BTC: Tensor, present_BT: Tensor, improved_B: Tensor, *, last_photo_weight: float = 1.0
) -> Tensor:
    """Return the cross entropy of each series, (B,), in nats.

    Args:
        improved_B: column of the class of each series.
        last_photo_weight: of the loss after the last photo, which is the verdict's; the rest is the mean of
            the losses after each present photo.
    """
    target_BT = improved_B[:, None].expand_as(present_BT)
    loss_BT = F.cross_entropy(logits_BTC.float().movedim(2, 1), target_BT, reduction="none")
    mean_B = (loss_BT * present_BT).sum(1) / present_BT.sum(1).clamp_min(1)
    return last_photo_weight * loss_BT[:, -1] + (1 - last_photo_weight) * mean_B
