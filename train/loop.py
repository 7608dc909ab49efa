"""The training loop in plain PyTorch: it knows no network, no file format and no Ray.

A batch is a dictionary of tensors whose first axis counts the examples. Where several processes train
together (``torch.distributed``), sums go over all of them.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.distributed
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from models.checkpoint import unwrap

Batch = dict[str, Tensor]
LossFunction = Callable[[nn.Module, Batch], Tensor]
"""Network and batch to the loss of each example, (B,)."""
Metrics = dict[str, float]


class EpochLosses(NamedTuple):
    """Mean losses of an example, over all processes."""

    mean: float
    steps: list[float]
    """Of each step, in order."""


CHECK_EVERY = 20
"""Steps after which the gradient is looked at; looking makes the processor wait for the GPU."""
PARTS = ("net", "optimizer", "schedule", "ema")


class DivergedError(RuntimeError):
    """The loss or its gradient is no longer a number."""


class OtherRunError(ValueError):
    """The folder of a run holds the state of a run with other settings or other data."""


@dataclass(kw_only=True)
class TrainingState:
    """All that a run needs to go on as if it had never stopped.

    No random state is among it: order, augmentation and dropout of an epoch follow from seed and epoch.
    """

    net: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler | ReduceLROnPlateau
    """Stepped after every batch; on a plateau after every epoch."""
    ema: AveragedModel
    """Running mean of the weights; evaluated and released in place of the last weights."""
    settings: dict[str, Any]
    """What the run was told, with the fingerprint of its data; another run does not resume this one."""
    history: list[Metrics] = field(default_factory=list)
    """Of every finished epoch."""

    @property
    def epoch(self) -> int:
        """Epochs finished."""
        return len(self.history)

    def content(self) -> dict[str, Any]:
        """Return tensors, numbers and text only, float32, as ``torch.load(weights_only=True)`` reads them."""
        parts = {name: unwrap_for_saving(getattr(self, name)).state_dict() for name in PARTS}
        return parts | {"settings": self.settings, "history": self.history}

    def load(self, content: dict[str, Any]) -> None:
        """Go on from what ``content`` returned.

        Raises:
            OtherRunError: it is the state of a run with other settings or other data.
        """
        saved = content["settings"]
        names = saved.keys() | self.settings.keys()
        other = sorted(name for name in names if saved.get(name) != self.settings.get(name))
        if other:
            raise OtherRunError(
                f"the folder holds a run that differs in {', '.join(other)}; "
                "give the same settings to go on with it, or name another folder with --run"
            )
        for name in PARTS:
            unwrap_for_saving(getattr(self, name)).load_state_dict(content[name])
        self.history = list(content["history"])

    def end_epoch(self, metrics: Metrics) -> None:
        """Count an epoch and let a plateau schedule see how it went."""
        self.history.append(metrics)
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step(metrics["val_loss"])


def unwrap_for_saving(part: Any) -> Any:
    """Return the network inside DistributedDataParallel, and all else as it is."""
    return unwrap(part) if isinstance(part, nn.parallel.DistributedDataParallel) else part


def new_ema(net: nn.Module, decay: float) -> AveragedModel:
    """Return a running mean of the weights and batch-norm statistics of ``net``.

    The first steps count for less, or a short run would end near the weights that it started from.
    """

    def update(mean: Any, now: Any, num_averaged: Tensor | int) -> None:
        steps = int(num_averaged)
        get_ema_multi_avg_fn(min(decay, (1 + steps) / (10 + steps)))(mean, now, num_averaged)

    return AveragedModel(unwrap(net), multi_avg_fn=update, use_buffers=True)


def train_epoch(
    state: TrainingState,
    batches: Iterable[Batch],
    loss_of: LossFunction,
    *,
    max_grad_norm: float,
    bf16: bool = False,
    freeze_batch_norm: bool = False,
) -> EpochLosses:
    """Train on every batch once and return the losses.

    Raises:
        DivergedError: a gradient is not finite; the state saved before this epoch is the last good one.
    """
    state.net.train()
    if freeze_batch_norm:
        _freeze_batch_norm(state.net)
    sums: list[Tensor] = []
    norms = torch.zeros(())
    for batch in batches:
        with _autocast(batch, bf16):
            loss_B = loss_of(state.net, batch)
        state.optimizer.zero_grad(set_to_none=True)
        loss_B.mean().backward()
        norm = nn.utils.clip_grad_norm_(state.net.parameters(), max_grad_norm)
        state.optimizer.step()
        if not isinstance(state.schedule, ReduceLROnPlateau):
            state.schedule.step()
        state.ema.update_parameters(unwrap(state.net))
        sums.append(_sum_and_count(loss_B))
        norms = norm.detach() + norms.to(norm.device)
        if len(sums) % CHECK_EVERY == 1:
            _check(norms, state, len(sums))
    _check(norms, state, len(sums))
    return _means(sums)


@torch.inference_mode()
def evaluate(net: nn.Module, batches: Iterable[Batch], loss_of: LossFunction, *, bf16: bool = False) -> float:
    """Return the mean loss of an example, over all processes, without dropout and with stored statistics."""
    net.eval()
    total = torch.zeros(2, dtype=torch.float64)
    for batch in batches:
        with _autocast(batch, bf16):
            loss_B = loss_of(net, batch)
        total = total.to(loss_B.device) + _sum_and_count(loss_B)
    return _means([total]).mean


def _sum_and_count(loss_B: Tensor) -> Tensor:
    """Sum of the losses and number of examples, (2,), without waiting for the device."""
    return torch.stack([loss_B.detach().double().sum(), loss_B.new_tensor(len(loss_B)).double()])


def _means(sums: list[Tensor]) -> EpochLosses:
    """A mean is a sum over all processes divided by a count over all processes."""
    if not sums:
        return EpochLosses(math.nan, [])
    sums_S2 = torch.stack(sums)
    if torch.distributed.is_initialized():
        if torch.distributed.get_backend() == "nccl":
            sums_S2 = sums_S2.cuda()
        torch.distributed.all_reduce(sums_S2)
    loss, count = sums_S2.sum(0).tolist()
    return EpochLosses(loss / count if count else math.nan, (sums_S2[:, 0] / sums_S2[:, 1]).tolist())


def _check(norms: Tensor, state: TrainingState, num_steps: int) -> None:
    if not torch.isfinite(norms):
        raise DivergedError(
            f"the gradient is no longer a number in epoch {state.epoch + 1}, within {num_steps} steps; "
            "the states of the epochs before are kept; start anew with a lower --learning-rate and another "
            "--run"
        )


def _freeze_batch_norm(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def _autocast(batch: Batch, bf16: bool) -> torch.autocast:
    return torch.autocast(next(iter(batch.values())).device.type, dtype=torch.bfloat16, enabled=bf16)
