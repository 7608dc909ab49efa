"""Coordinate the processes that train one network; independent of Ray."""

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
    """The run cannot continue; the training checkpoints of finished epochs are kept."""


def _no_report(metrics: dict[str, Any]) -> None:
    pass


def _unwrapped(net: nn.Module) -> nn.Module:
    return net


def _tqdm(*, total: int, desc: str) -> tqdm:
    return tqdm(total=total, desc=desc, disable=None)


@dataclass(frozen=True, kw_only=True)
class DistributedContext:
    """Rank, device and callbacks of one training process; the defaults are a single process."""

    rank: int = 0
    world_size: int = 1
    device: str = "cpu"
    prepare_model: Callable[[nn.Module], nn.Module] = _unwrapped
    """Wraps the network so that gradients are averaged over all processes."""
    report: Callable[[dict[str, Any]], None] = _no_report
    """Receives the metrics of every epoch, on every process."""
    progress_bar: Callable[..., Any] | None = _tqdm
    """Takes ``total`` and ``desc``; None shows no progress bar."""

    @property
    def is_main_process(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def epoch_seed(self, seed: int, epoch: int, *, shared: bool) -> int:
        """Derive the seed of an epoch: equal on all processes if ``shared``, else different on each."""
        numbers = [seed, epoch] if shared else [seed, epoch, self.rank + 1]
        return int(np.random.SeedSequence(numbers).generate_state(1)[0])

    def with_progress(self, batches: Iterable[Any], description: str) -> Iterable[Any]:
        """Yield the batches and show a progress bar in the main process."""
        if not self.is_main_process or self.progress_bar is None:
            yield from batches
            return
        bar = self.progress_bar(total=len(batches), desc=description)  # pyright: ignore[reportArgumentType]
        try:
            for batch in batches:
                yield batch
                bar.update(1)
        finally:
            bar.close()

    def assert_equal_across_ranks(self, what: str, value: Any) -> None:
        """Raise if the processes hold different values.

        Raises:
            RunStoppedError: the values differ; collective operations could block or mix two runs.
        """
        values = self._all_gather(value)
        if any(other != values[0] for other in values):
            raise RunStoppedError(
                f"the workers differ in {what}: {', '.join(sorted({str(one) for one in values}))}; make sure "
                "that all machines see the same run folder and the same photos"
            )

    def run_on_all_ranks(self, step: Callable[[], Result]) -> Result:
        """Run ``step`` on every process; if it fails on one, stop all with its message.

        Otherwise the other processes would block in their next collective operation.

        Raises:
            RunStoppedError: ``step`` raised a SkinserveError on some process.
        """
        message, result = "", None
        try:
            result = step()
        except SkinserveError as error:
            message = str(error)
        messages = self._all_gather(message)
        if any(messages):
            raise RunStoppedError(next(text for text in messages if text))
        return result  # pyright: ignore[reportReturnType]

    def _all_gather(self, value: Any) -> list[Any]:
        """Return the value of every process in the order of the ranks."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        torch.distributed.all_gather_object(values, value)
        return values
