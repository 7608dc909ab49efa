"""The training loop in plain PyTorch, independent of network, file format and Ray.

A batch is a dictionary of tensors; their first axis counts the examples. With several processes
(``torch.distributed``), sums are over all of them.
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
from models.errors import SkinserveError
from models.tensor_transfer import transfer_tensors

Batch = dict[str, Tensor]
LossFunction = Callable[[nn.Module, Batch], Tensor]
"""Maps network and batch to the loss of each example, (B,)."""
Metrics = dict[str, float]


class EpochLosses(NamedTuple):
    """Mean losses of an example, over all processes."""

    mean: float
    steps: list[float]
    """Of each step, in order."""


CHECK_EVERY = 20
"""Steps between checks of the gradient; a check makes the CPU wait for the GPU."""
PARTS = ("net", "optimizer", "schedule", "ema")


class DivergedError(SkinserveError):
    """The gradient is not finite."""


class RunMismatchError(SkinserveError):
    """The run folder holds a run with other settings or other data."""


@dataclass(kw_only=True)
class TrainingState:
    """Complete state of a run between two epochs; a training checkpoint stores it.

    It has no random state: order, augmentation and dropout of an epoch follow from seed and epoch.
    """

    net: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler | ReduceLROnPlateau
    """Stepped after every batch; a plateau schedule after every epoch."""
    ema: AveragedModel
    """Exponential moving average of the weights; evaluated and released in place of the last weights."""
    settings: dict[str, Any]
    """Settings and data fingerprint; a run with others cannot resume this one."""
    history: list[Metrics] = field(default_factory=list)
    """Metrics of every finished epoch."""

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.history)

    def state_dict(self) -> dict[str, Any]:
        """Return tensors, numbers and text only, as ``torch.load(weights_only=True)`` accepts."""
        parts = {name: unwrap_for_saving(getattr(self, name)).state_dict() for name in PARTS}
        return parts | {"settings": self.settings, "history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from a ``state_dict``.

        Raises:
            RunMismatchError: it belongs to a run with other settings or other data.
        """
        saved = state_dict["settings"]
        names = saved.keys() | self.settings.keys()
        other = sorted(name for name in names if saved.get(name) != self.settings.get(name))
        if other:
            raise RunMismatchError(
                f"the folder holds a run that differs in {', '.join(other)}; "
                "give the same settings to resume it, or name another folder with --run"
            )
        for name in PARTS:
            unwrap_for_saving(getattr(self, name)).load_state_dict(state_dict[name])
        self.history = list(state_dict["history"])

    def end_epoch(self, metrics: Metrics) -> None:
        """Record an epoch and step a plateau schedule."""
        self.history.append(metrics)
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step(metrics["val_loss"])


def computes_bf16(device: str) -> bool:
    """Check whether a device has instructions for bfloat16; without them float32 is faster."""
    if torch.device(device).type == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    has = torch.cpu.get_capabilities()
    return device == "cpu" and bool(has.get("avx512_bf16") or has.get("amx_bf16"))


def to_device(batch: Batch, device: str) -> Batch:
    """Copy a batch to a device; to a GPU in one transfer, without waiting for it."""
    return dict(zip(batch, transfer_tensors([*batch.values()], device), strict=True))


def unwrap_for_saving(part: Any) -> Any:
    """Return the network inside DistributedDataParallel; other parts unchanged."""
    return unwrap(part) if isinstance(part, nn.parallel.DistributedDataParallel) else part


def new_ema(net: nn.Module, decay: float) -> AveragedModel:
    """Return a moving average of the weights and batch norm statistics of ``net``.

    The decay of the first steps is lower, or a short run would end near its initial weights.
    """
    return _MovingAverage(unwrap(net), decay)


class _MovingAverage(AveragedModel):
    """Average without a read from the GPU: the count of steps stays in host memory."""

    def __init__(self, net: nn.Module, decay: float) -> None:
        super().__init__(net, use_buffers=True)
        self._decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        steps = int(self.n_averaged)
        update = get_ema_multi_avg_fn(min(self._decay, (1 + steps) / (10 + steps)))
        tensors = [[*net.parameters(), *net.buffers()] for net in (self.module, model)]
        for is_float in (True, False):
            mean, now = ([one for one in of if one.is_floating_point() == is_float] for of in tensors)
            if not steps:
                for one, other in zip(mean, now, strict=True):
                    one.copy_(other)
            elif mean:
                update(mean, now, steps)
        self.n_averaged += 1


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
        DivergedError: a gradient is not finite; the last training checkpoint is still good.
    """
    state.net.train()
    if freeze_batch_norm:
        _freeze_batch_norm(state.net)
    sums: list[Tensor] = []
    counts: list[int] = []
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
        sums.append(loss_B.detach().double().sum())
        counts.append(len(loss_B))
        norms = norms + norm.detach()
        if len(sums) % CHECK_EVERY == 1:
            _check(norms, state, len(sums))
    _check(norms, state, len(sums))
    return _means(sums, counts)


@torch.inference_mode()
def evaluate(net: nn.Module, batches: Iterable[Batch], loss_of: LossFunction, *, bf16: bool = False) -> float:
    """Return the mean loss of an example, over all processes, without dropout and with stored statistics."""
    net.eval()
    total, count = torch.zeros((), dtype=torch.float64), 0
    for batch in batches:
        with _autocast(batch, bf16):
            loss_B = loss_of(net, batch)
        total = total + loss_B.double().sum()
        count += len(loss_B)
    return _means([total], [count]).mean


def _means(sums: list[Tensor], counts: list[int]) -> EpochLosses:
    """Divide a sum over all processes by a count over all processes."""
    if not sums:
        return EpochLosses(math.nan, [])
    sums_S2 = torch.stack([torch.stack(sums).cpu(), torch.tensor(counts, dtype=torch.float64)], dim=1)
    if torch.distributed.is_initialized():
        if torch.distributed.get_backend() == "nccl":
            sums_S2 = sums_S2.cuda()
        torch.distributed.all_reduce(sums_S2)
    loss, count = sums_S2.sum(0).tolist()
    return EpochLosses(loss / count if count else math.nan, (sums_S2[:, 0] / sums_S2[:, 1]).tolist())


def _check(norms: Tensor, state: TrainingState, num_steps: int) -> None:
    if not torch.isfinite(norms):
        raise DivergedError(
            f"the gradient is not finite in epoch {state.epoch + 1}, within {num_steps} steps; the training "
            "checkpoints of earlier epochs are kept; start again with a lower --learning-rate and another "
            "--run"
        )


def _freeze_batch_norm(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def _autocast(batch: Batch, bf16: bool) -> torch.autocast:
    return torch.autocast(next(iter(batch.values())).device.type, dtype=torch.bfloat16, enabled=bf16)
