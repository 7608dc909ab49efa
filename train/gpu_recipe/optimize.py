"""Optimizer, schedule by wall-clock time and running mean of the weights."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limit of a training: a number of steps or seconds, whichever comes first."""

    seconds: float
    max_steps: int = 1_000_000

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.max_steps < 1:
            raise ValueError(f"seconds is {self.seconds} and max_steps {self.max_steps}, must be positive")


class RunningMean:
    """Exponential mean of weights and batch norm statistics; its decay is lower in the first steps."""

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.state = {name: value.detach().clone() for name, value in net.state_dict().items()}
        self._own = [value for value in self.state.values() if value.is_floating_point()]
        self._theirs = [value for value in net.state_dict().values() if value.is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Add the network's current weights to the mean."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        get_ema_multi_avg_fn(decay)(self._own, self._theirs, 0)

    def load_into(self, net: nn.Module) -> nn.Module:
        """Copy the mean into another network of the same shape, in evaluation mode."""
        net.load_state_dict(self.state)
        return net.eval()


class Trainer:
    """Train one network by AdamW in bfloat16 with a cosine schedule and a running mean.

    Args:
        learning_rate: at the top of the schedule.
        fresh: prefixes of parameters with random initial values; their learning rate is three times as high.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        learning_rate: float,
        weight_decay: float = 0.05,
        ema_decay: float = 0.999,
        warmup: float = 0.06,
        fresh: tuple[str, ...] = (),
    ) -> None:
        self.net = net
        self.mean = RunningMean(net, ema_decay)
        self.warmup = warmup
        self.steps = 0
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in net.named_parameters():
            factor = 3.0 if name.startswith(fresh) else 1.0
            decay = weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((factor, decay), []).append(parameter)
        self.device = next(net.parameters()).device
        self.optimizer = torch.optim.AdamW(
            [
                {
                    "params": own,
                    "weight_decay": decay,
                    "lr": learning_rate * factor,
                    "top": learning_rate * factor,
                }
                for (factor, decay), own in groups.items()
            ],
            fused=self.device.type == "cuda",
        )

    def step(self, loss: Tensor, progress: float) -> None:
        """Update the weights; ``progress`` from 0 to 1 sets the learning rate."""
        rate = min(1.0, progress / self.warmup) * (0.5 + 0.5 * math.cos(math.pi * min(1.0, progress)))
        for group in self.optimizer.param_groups:
            group["lr"] = group["top"] * max(rate, 0.003)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.mean.update()
        self.steps += 1

    def run(
        self,
        budget: Budget,
        loss_of: Callable[[float], Tensor],
        *,
        start: float = 0.0,
        end: float = 1.0,
        evaluate: Callable[[], None] | None = None,
        evaluate_at: tuple[float, ...] = (),
    ) -> Tensor:
        """Take steps until the budget is spent and return the mean loss of the last 50.

        Args:
            loss_of: computes the loss of one batch at a progress from 0 to 1.
            start, end: part of the schedule that this budget covers.
            evaluate_at: progress after which ``evaluate`` runs; it may run between steps only.
        """
        self.net.train()
        began, first, waiting = time.perf_counter(), self.steps, list(evaluate_at)
        losses: list[Tensor] = []
        while True:
            share = max(
                (time.perf_counter() - began) / budget.seconds, (self.steps - first) / budget.max_steps
            )
            if share >= 1:
                break
            progress = start + (end - start) * share
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
                loss = loss_of(progress)
            self.step(loss, progress)
            losses = [*losses[-49:], loss.detach()]
            if self.device.type == "cuda" and self.steps % 8 == 0:
                losses[0].item()  # wait for the device, or the elapsed time is too short
            if evaluate is not None and waiting and progress >= waiting[0]:
                waiting.pop(0)
                evaluate()
                self.net.train()
        return torch.stack(losses).mean() if losses else torch.zeros(())
