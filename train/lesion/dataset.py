"""Batches of lesion photos: decoded once, in one order for all workers, each of which takes its share.

Axes: B image of a batch, H row, W column, C colour, K diagnosis, R risk group.
"""

import logging
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.diagnoses import GROUPS, Group, UnknownDiagnosisError, find_diagnosis, in_column_order
from models.lesion.localizer import Localizer
from models.lesion.preparation import prepare_lesion
from models.preprocessing import augment, normalize, sample_augmentation
from train.data.manifest import ManifestError, Row
from train.distributed import DistributedContext
from train.image_cache import decoded_photos
from train.lesion.config import LesionTraining
from train.lesion.mixing import TARGETS, mix, sample_mixing
from train.loop import Batch, to_device

log = logging.getLogger(__name__)

UNDIAGNOSED = -1
"""Column of a photo that is labelled with a risk group and no diagnosis."""
NUM_AHEAD = 4
"""Batches gathered ahead of a GPU."""


class LesionPhotos:
    """Decoded photos as uint8 squares, with their target probabilities.

    Args:
        rows: labelled with a diagnosis or, for calibration and evaluation, with a risk group only.
        labels: names of the diagnoses in column order.
        side_px: side of the squares; 128 px are 48 kB a photo.
        cache: folder of the files that hold them; empty: in memory.
        max_unreadable_share: largest share of unreadable photos, which are skipped.
        localizer: squares are its crops, as in serving; None: the central squares. Needs an empty cache.

    Raises:
        ManifestError: more photos are unreadable, or a label is unknown.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        *,
        labels: Sequence[str],
        side_px: int,
        cache: str = "",
        max_unreadable_share: float = 0.0,
        localizer: Localizer | None = None,
    ) -> None:
        _check_labels(rows)
        decoder = None if localizer is None else partial(_crop, localizer=localizer, side_px=side_px)
        self.image_BHWC, unreadable = decoded_photos(rows, side_px=side_px, cache=cache, decoder=decoder)
        if len(unreadable) > max_unreadable_share * len(rows):
            first = next(iter(unreadable))
            raise ManifestError(
                f"{len(unreadable)} of {len(rows)} photos cannot be read, first {rows[first].image}: "
                f"{unreadable[first]}; at most {max_unreadable_share:.0%} may be skipped: correct the "
                "photos and run skinserve ingest again"
            )
        if unreadable:
            names = ", ".join(rows[index].name for index in list(unreadable)[:5])
            log.warning(
                "%d of %d photos cannot be read and are skipped: %s", len(unreadable), len(rows), names
            )
        self._kept = [index for index in range(len(rows)) if index not in unreadable]
        self.rows = [rows[index] for index in self._kept]
        targets = [_target(row.label, labels) for row in self.rows]
        self.diagnosis_B = torch.tensor([column for column, _ in targets])
        self.malignant_B = torch.tensor([GROUPS.index(group) for _, group in targets])
        self._risk_BR = F.one_hot(self.malignant_B, len(GROUPS)).float()
        self._diagnosis_BK = F.one_hot(self.diagnosis_B + 1, 1 + len(labels))[:, 1:].float()
        self._position_B = torch.tensor(self._kept)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: list[int]) -> Batch:
        """Return one batch."""
        index = torch.as_tensor(indices)
        # NumPy copies whole photos; PyTorch's indexing goes byte by byte, at many times the CPU time
        image_BHWC = self.image_BHWC.numpy()[self._position_B[index].numpy()]
        return {
            "image": torch.from_numpy(image_BHWC),
            "risk": self._risk_BR[index],
            "diagnosis": self._diagnosis_BK[index],
        }


def _crop(data: bytes, *, localizer: Localizer, side_px: int) -> np.ndarray:
    return prepare_lesion(data, localizer=localizer, side_px=side_px).image_HWC


def _check_labels(rows: Sequence[Row]) -> None:
    try:
        for row in rows:
            if row.label not in GROUPS:
                find_diagnosis(row.label)
    except UnknownDiagnosisError as error:
        raise ManifestError(str(error)) from error


def _target(label: str, labels: Sequence[str]) -> tuple[int, Group]:
    """Return the column of the diagnosis and the risk group of a label."""
    for group in GROUPS:
        if label == group:
            return UNDIAGNOSED, group
    diagnosis = find_diagnosis(label)
    return labels.index(diagnosis.name), diagnosis.group


def class_names(rows: Sequence[Row], *, at_least: int = 2) -> tuple[str, ...]:
    """Return the diagnoses that occur, in the order of the network's columns.

    Raises:
        ManifestError: a label is unknown, or fewer diagnoses occur.
    """
    try:
        names = in_column_order({row.label for row in rows})
    except UnknownDiagnosisError as error:
        raise ManifestError(str(error)) from error
    if len(names) < at_least:
        raise ManifestError(
            f"the manifest has photos of {', '.join(names) or 'no diagnosis'} only; a network needs two"
        )
    return names


class LesionTrainBatches:
    """Yield augmented, normalised batches; ``config.class_balance`` sets the share of the classes.

    Every worker has the same order and takes its own part of each step: two workers together take the step of
    one worker with twice the batch.
    """

    def __init__(self, photos: LesionPhotos, config: LesionTraining, context: DistributedContext) -> None:
        if len(photos) < config.batch_size * context.world_size:
            raise ManifestError(
                f"{len(photos)} photos are fewer than the examples of one step, {context.world_size} x "
                f"{config.batch_size}; lower --batch-size or --workers"
            )
        self.epoch = 0
        self._photos = photos
        self._config = config
        self._context = context

    def __len__(self) -> int:
        return len(self._photos) // (self._config.batch_size * self._context.world_size)

    def order(self) -> Tensor:
        """Return the indices of this worker's photos in the epoch, (steps, batch_size)."""
        config, context = self._config, self._context
        generator = torch.Generator().manual_seed(context.epoch_seed(config.seed, self.epoch, shared=True))
        if config.balance_by == "sampler" and config.class_balance:
            count_K = torch.bincount(self._photos.diagnosis_B).clamp_min(1)
            weight_B = (count_K.double() ** -config.class_balance)[self._photos.diagnosis_B]
            order_B = torch.multinomial(weight_B, len(self._photos), replacement=True, generator=generator)
        else:
            order_B = torch.randperm(len(self._photos), generator=generator)
        order_B = order_B[: len(self) * context.world_size * config.batch_size]
        return order_B.view(len(self), context.world_size, config.batch_size)[:, context.rank]

    def __iter__(self) -> Iterator[Batch]:
        config, context = self._config, self._context
        generator = torch.Generator().manual_seed(context.epoch_seed(config.seed, self.epoch, shared=False))
        side_px = config.side_px(self.epoch)
        torch.empty((), dtype=torch.int64).random_()  # as DataLoader did: a seed keeps its dropout masks
        for batch in _gathered(self._photos, self.order().tolist(), context.device):
            if not config.augment:
                batch = to_device(batch, context.device)
                yield batch | {"image": normalized(resized(batch["image"], side_px))}
                continue
            drawn = {"numbers": sample_augmentation(config.batch_size, config.augmentation, generator)}
            mixing = None
            if torch.rand((), generator=generator).item() < config.mix_share:
                mixing = sample_mixing(config.batch_size, side_px, generator)
                drawn["other"] = mixing.other_B
            batch = to_device(batch | drawn, context.device)
            image = augment(batch["image"], side_px, config.augmentation, batch["numbers"])
            inputs = {"image": normalized(image), **{name: batch[name] for name in TARGETS}}
            yield mix(inputs, replace(mixing, other_B=batch["other"])) if mixing else inputs


def val_batches(photos: LesionPhotos, batch_size: int, context: DistributedContext) -> Iterator[Batch]:
    """Yield this worker's share of the photos once, without augmentation, as in serving."""
    own = torch.arange(context.rank, len(photos), context.world_size)
    for batch in _gathered(photos, [part.tolist() for part in own.split(batch_size)], context.device):
        batch = to_device(batch, context.device)
        yield batch | {"image": normalized(batch["image"])}


def _gathered(photos: LesionPhotos, batches: list[list[int]], device: str) -> Generator[Batch, None, None]:
    """Gather batches; for a GPU ahead, in threads, which copy photos while this thread starts kernels.

    Processes would have to be started and ended in each epoch, forked from one that uses CUDA.
    """
    if not device.startswith("cuda"):
        yield from map(photos.__getitems__, batches)
        return
    ahead: deque[Future[Batch]] = deque()
    with ThreadPoolExecutor(2, thread_name_prefix="gather") as pool:
        try:
            for batch in batches:
                ahead.append(pool.submit(photos.__getitems__, batch))
                if len(ahead) > NUM_AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def resized(image_BHWC: Tensor, side_px: int) -> Tensor:
    """Resize uint8 squares."""
    image_BCHW = F.interpolate(
        image_BHWC.movedim(-1, 1).float(), size=(side_px, side_px), mode="bilinear", antialias=True
    )
    return image_BCHW.round_().to(torch.uint8).movedim(1, -1)


def normalized(image_BHWC: Tensor) -> Tensor:
    """Return network input, channels last, the fastest layout for convolutions."""
    return normalize(image_BHWC).contiguous(memory_format=torch.channels_last)
