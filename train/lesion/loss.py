"""Loss of the lesion network for every image of a batch.

Axes: B image, R risk group, K diagnosis.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from models.lesion.network import LesionLogits
from train.loop import Batch


def lesion_loss(
    logits: LesionLogits, risk_BR: Tensor, diagnosis_BK: Tensor, *, label_smoothing: float = 0.0
) -> Tensor:
    """Return the sum of both heads' cross entropies for each image, (B,), in nats.

    Args:
        risk_BR: target probabilities; one-hot except for mixed images.
        diagnosis_BK: target probabilities of the diagnoses.
    """
    risk = F.cross_entropy(logits.risk_BR.float(), risk_BR, reduction="none", label_smoothing=label_smoothing)
    diagnosis = F.cross_entropy(
        logits.diagnosis_BK.float(), diagnosis_BK, reduction="none", label_smoothing=label_smoothing
    )
    return risk + diagnosis


def batch_loss(
    net: nn.Module, batch: Batch, *, label_smoothing: float = 0.0, weight_K: Tensor | None = None
) -> Tensor:
    """Return the loss of each image of a batch, (B,), weighted by class if ``weight_K`` is given."""
    loss_B = lesion_loss(
        net(batch["image"]), batch["risk"], batch["diagnosis"], label_smoothing=label_smoothing
    )
    return loss_B if weight_K is None else loss_B * (batch["diagnosis"] @ weight_K)
