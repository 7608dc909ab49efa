"""The training loop in plain PyTorch: it knows no network, no file format and no Ray.

A batch is a dictionary of tensors whose first axis counts the examples.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

Batch = dict[str, Tensor]
LossFunction = Callable[[nn.Module, Batch], Tensor]
"""Network and batch to the loss of each example, (B,)."""


class DivergedError(RuntimeError):
    """The loss or its gradient is no longer a number."""


class OtherRunError(ValueError):
    """The folder of a run holds the state of a run with other settings or other data."""


@dataclass(kw_only=True)
class TrainingState:
    """All that a run needs to go on as if it had never stopped."""

    net: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler
    """Stepped after every batch."""
    ema: AveragedModel
    """Running mean of the weights; evaluated and released in place of the last weights."""
    generator: torch.Generator
    """CPU generator of the order of the examples and of their augmentation."""
    settings: dict[str, Any]
    """What the run was told, with the fingerprint of its data; another run does not resume this one."""
    epoch: int = 0
    """Epochs finished."""

    def save(self, path: Path) -> None:
        """Write the state; a crash while writing leaves the previous file as it was."""
        content = {name: getattr(self, name).state_dict() for name in ("net", "optimizer", "schedule", "ema")}
        scratch = path.with_suffix(".tmp")
        torch.save(
            content
            | {
                "epoch": self.epoch,
                "generator": self.generator.get_state(),
                "dropout": torch.get_rng_state(),
                "settings": self.settings,
            },
            scratch,
        )
        scratch.replace(path)

    def resume_if_any(self, path: Path) -> bool:
        """Load the state that ``save`` left, if there is one, and say whether there was.

        Raises:
            OtherRunError: it was saved by a run with other settings or other data.
        """
        if not path.is_file():
            return False
        content = torch.load(path, map_location="cpu", weights_only=True)
        saved = content.get("settings", {})
        names = saved.keys() | self.settings.keys()
        other = sorted(name for name in names if saved.get(name) != self.settings.get(name))
        if other:
            raise OtherRunError(
                f"{path} is the state of a run that differs in {', '.join(other)}; "
                "give the same settings to go on with it, or name another folder with --run"
            )
        for name in ("net", "optimizer", "schedule", "ema"):
            getattr(self, name).load_state_dict(content[name])
        self.epoch = content["epoch"]
        self.generator.set_state(content["generator"])
        torch.set_rng_state(content["dropout"])
        return True


def new_ema(net: nn.Module, decay: float) -> AveragedModel:
    """Return a running mean of the weights and batch-norm statistics of ``net``."""
    return AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


def train_epoch(
    state: TrainingState,
    batches: Iterable[Batch],
    loss_of: LossFunction,
    *,
    max_grad_norm: float,
    bf16: bool = False,
) -> float:
    """Train on every batch once and return the mean loss of an example.

    Raises:
        DivergedError: a gradient is not finite; the state saved before this epoch is the last good one.
    """
    state.net.train()
    loss_sum, num_examples = 0.0, 0
    for batch in batches:
        with _autocast(batch, bf16):
            loss_B = loss_of(state.net, batch)
        state.optimizer.zero_grad(set_to_none=True)
        loss_B.mean().backward()
        norm = nn.utils.clip_grad_norm_(state.net.parameters(), max_grad_norm)
        if not torch.isfinite(norm):
            raise DivergedError(
                f"the gradient is {norm.item()} in epoch {state.epoch + 1} after {num_examples} examples; "
                "start anew with a lower --learning-rate and another --run"
            )
        state.optimizer.step()
        state.schedule.step()
        state.ema.update_parameters(state.net)
        loss_sum += loss_B.detach().sum().item()
        num_examples += len(loss_B)
    state.epoch += 1
    return loss_sum / num_examples if num_examples else math.nan


@torch.inference_mode()
def evaluate(net: nn.Module, batches: Iterable[Batch], loss_of: LossFunction, *, bf16: bool = False) -> float:
    """Return the mean loss of an example, without dropout and with the stored batch-norm statistics."""
    net.eval()
    loss_sum, num_examples = 0.0, 0
    for batch in batches:
        with _autocast(batch, bf16):
            loss_B = loss_of(net, batch)
        loss_sum += loss_B.sum().item()
        num_examples += len(loss_B)
    return loss_sum / num_examples if num_examples else math.nan


def _autocast(batch: Batch, bf16: bool) -> torch.autocast:
    return torch.autocast(next(iter(batch.values())).device.type, dtype=torch.bfloat16, enabled=bf16)
