"""Pure functions on tensors. Axes: B image, K diagnosis, R risk group."""

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
