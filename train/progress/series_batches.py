"""Batches of labelled series, in one order for all workers."""

from collections.abc import Iterator, Sequence

import torch

from train.data.manifest import ManifestError
from train.distributed import DistributedContext
from train.loop import Batch
from train.progress.config import ProgressTraining
from train.progress.series import Series, backwards, to_batch


class LabelledSeriesBatches:
    """Yield batches with each series forwards and backwards.

    A reversed improvement is a worsening, so both verdicts have the same photos, light and people.
    """

    def __init__(
        self, series: Sequence[Series], config: ProgressTraining, context: DistributedContext
    ) -> None:
        if not series:
            raise ManifestError(
                "no series has two photos with a face; see the output of skinserve extract-faces"
            )
        self.epoch = 0
        self._series = series
        self._config = config
        self._context = context
        self._each = config.batch_size // 2

    def __len__(self) -> int:
        return -(-len(self._series) // (self._each * self._context.world_size))

    def __iter__(self) -> Iterator[Batch]:
        context = self._context
        generator = torch.Generator().manual_seed(
            context.epoch_seed(self._config.seed, self.epoch, shared=True)
        )
        order = torch.randperm(len(self._series), generator=generator)
        order = order.repeat(
            len(self) * self._each * context.world_size // len(order) + 1
        )  # the last step is full as well
        steps = order[: len(self) * context.world_size * self._each].view(
            len(self), context.world_size, self._each
        )
        for step in steps[:, context.rank].tolist():
            chosen = [self._series[index] for index in step]
            yield to_batch([*chosen, *(backwards(one) for one in chosen)], context.device)
