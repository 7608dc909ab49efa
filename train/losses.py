"""Pure functions on tensors.

Axes: B image or series, T photo of a series, K diagnosis, R risk group, C class.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from models.lesion.network import LesionLogits


def lesion_loss(
    logits: LesionLogits, risk_BR: Tensor, diagnosis_BK: Tensor, *, label_smoothing: float = 0.0
) -> Tensor:
    """Return the sum of both heads' cross entropies for each image, (B,), in nats.

    Args:
        risk_BR: target probabilities; one-hot but for mixed images.
        diagnosis_BK: the same for the diagnoses.
    """
    risk = F.cross_entropy(logits.risk_BR.float(), risk_BR, reduction="none", label_smoothing=label_smoothing)
    diagnosis = F.cross_entropy(
        logits.diagnosis_BK.float(), diagnosis_BK, reduction="none", label_smoothing=label_smoothing
    )
    return risk + diagnosis


def progress_loss(
    logits_BTC: Tensor, present_BT: Tensor, improvement_BT: Tensor, *, last_photo_weight: float = 1.0
) -> Tensor:
    """Return the cross entropy of each series, (B,), in nats.

    Args:
        logits_BTC: C as ``models.progress.network.LABELS``: worsened, improved.
        present_BT: bool.
        improvement_BT: the probability of improved that should be said after each photo.
        last_photo_weight: of the loss after the last photo, which is the verdict's; the rest is the mean of
            the losses after each present photo.
    """
    target_BTC = torch.stack([1 - improvement_BT, improvement_BT], dim=2)
    loss_BT = -(target_BTC * logits_BTC.float().log_softmax(2)).sum(2)
    mean_B = (loss_BT * present_BT).sum(1) / present_BT.sum(1).clamp_min(1)
    return last_photo_weight * loss_BT[:, -1] + (1 - last_photo_weight) * mean_B
