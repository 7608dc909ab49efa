"""The processes that train one network together, seen from one of them; knows no Ray."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed
from torch import nn
from tqdm import tqdm

from models.errors import SkinserveError

Result = TypeVar("Result")


class RunStoppedError(SkinserveError):
    """The run cannot go on; the message says why and what to do, and what was trained until then is kept."""


def _no_report(metrics: dict[str, Any]) -> None:
    pass


def _unwrapped(net: nn.Module) -> nn.Module:
    return net


def _bar(*, total: int, desc: str) -> tqdm:
    return tqdm(total=total, desc=desc, disable=None)


@dataclass(frozen=True, kw_only=True)
class Team:
    """Who trains, and what surrounds them; the defaults are one process alone."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"
    prepare: Callable[[nn.Module], nn.Module] = _unwrapped
    """Wraps the network so that its gradients are those of all processes."""
    report: Callable[[dict[str, Any]], None] = _no_report
    """Told of every epoch, on every process."""
    progress_bar: Callable[..., Any] | None = _bar
    """Takes ``total`` and ``desc``; none shows nothing, as where there is no terminal."""

    @property
    def leads(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def seed_of(self, seed: int, epoch: int, *, shared: bool) -> int:
        """Return the seed of an epoch: the same on all processes, or its own on each."""
        numbers = [seed, epoch] if shared else [seed, epoch, self.rank + 1]
        return int(np.random.SeedSequence(numbers).generate_state(1)[0])

    def watched(self, batches: Iterable[Any], description: str) -> Iterable[Any]:
        """Yield the batches under a progress bar with the time left, on the process that leads."""
        if not self.leads or self.progress_bar is None:
            yield from batches
            return
        bar = self.progress_bar(total=len(batches), desc=description)  # pyright: ignore[reportArgumentType]
        try:
            for batch in batches:
                yield batch
                bar.update(1)
        finally:
            bar.close()

    def agree(self, what: str, value: Any) -> None:
        """Make sure that all processes have the same.

        Raises:
            RunStoppedError: they have not; going on would mix runs up, or wait for ever.
        """
        found = self._gathered(value)
        if any(other != found[0] for other in found):
            raise RunStoppedError(
                f"the workers differ in {what}: {', '.join(sorted({str(one) for one in found}))}; make sure "
                "that all machines see the same run folder and the same photos"
            )

    def together(self, step: Callable[[], Result], refusals: tuple[type[Exception], ...]) -> Result:
        """Run ``step``; if it is refused on one process, all of them stop with its message.

        Without this the others would wait for ever at their next sum.

        Raises:
            RunStoppedError: one of ``refusals`` was raised here or elsewhere.
        """
        refusal, result = "", None
        try:
            result = step()
        except refusals as error:
            refusal = str(error)
        found = self._gathered(refusal)
        if any(found):
            raise RunStoppedError(next(text for text in found if text))
        return result  # pyright: ignore[reportReturnType]

    def _gathered(self, value: Any) -> list[Any]:
        """What every process gives, in the order of the ranks."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(found, value)
        return found
