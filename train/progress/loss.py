"""Loss of the progress network for every series of a batch.

Axes: B series, T photo, C verdict.
"""

import torch
from torch import Tensor, nn

from train.loop import Batch


def progress_loss(
    logits_BTC: Tensor, present_BT: Tensor, improvement_BT: Tensor, *, last_photo_weight: float = 1.0
) -> Tensor:
    """Return the cross entropy of each series, (B,), in nats.

    Args:
        logits_BTC: C as ``models.progress.network.LABELS``: worsened, improved.
        present_BT: bool.
        improvement_BT: target probability of improved after each photo.
        last_photo_weight: weight of the loss after the last photo, which gives the verdict; the rest is the
            mean of the losses after each present photo.
    """
    target_BTC = torch.stack([1 - improvement_BT, improvement_BT], dim=2)
    loss_BT = -(target_BTC * logits_BTC.float().log_softmax(2)).sum(2)
    mean_B = (loss_BT * present_BT).sum(1) / present_BT.sum(1).clamp_min(1)
    return last_photo_weight * loss_BT[:, -1] + (1 - last_photo_weight) * mean_B


def batch_loss(net: nn.Module, batch: Batch, *, last_photo_weight: float = 1.0) -> Tensor:
    """Return the loss of each series of a batch, (B,)."""
    logits_BTC = net(batch["photos"], batch["present"], batch["present_index"])
    return progress_loss(
        logits_BTC, batch["present"], batch["improvement"], last_photo_weight=last_photo_weight
    )
