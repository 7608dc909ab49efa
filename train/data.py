"""Manifest to datasets: rows, grouped splits and decoded photos.

Axes: B image of a batch, H row, W column, C colour.
"""

import csv
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

from models.images import PhotoError, decode_square
from models.taxonomy import GROUPS, UnknownDiagnosisError, find_diagnosis, in_column_order
from models.transforms import augment, normalize
from train.config import LesionTraining
from train.loop import Batch

COLUMNS = ("image", "label", "group")


class ManifestError(ValueError):
    """A manifest that cannot be trained on; the message names the rows."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One photo: where it is, what it shows, and what it must not be parted from."""

    image: Path
    label: str
    group: str
    """Lesion or person: all photos of a group fall on the same side of a split."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Rows to learn from and rows to judge by; no group is in both."""

    train: tuple[Row, ...]
    val: tuple[Row, ...]
    fingerprint: str
    """sha256 over every row and its side."""


def read_manifest(path: Path) -> list[Row]:
    """Read a CSV with the columns image, label and group; images are relative to its folder.

    Raises:
        ManifestError: no such file, a column is missing, or a photo is not there.
    """
    if not path.is_file():
        raise ManifestError(
            f"no manifest at {path}; make one with python -m train.ingest, or name it with --manifest"
        )
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ManifestError(f"{path} has no column {', '.join(missing)}; it needs {', '.join(COLUMNS)}")
        rows = [Row(image=path.parent / r["image"], label=r["label"], group=r["group"]) for r in reader]
    lost = [number for number, row in enumerate(rows, start=2) if not row.image.is_file()]
    if lost:
        raise ManifestError(
            f"{path}: {len(lost)} of {len(rows)} photos are missing, first in line {lost[0]} "
            f"({rows[lost[0] - 2].image}); correct the manifest"
        )
    return rows


def split_by_group(rows: Sequence[Row], *, val_fraction: float, seed: int) -> Split:
    """Put whole groups on one side or the other, keeping the shares of the labels as alike as groups allow.

    Raises:
        ManifestError: there are too few groups of some label to have it on both sides.
    """
    labels = [row.label for row in rows]
    groups = [row.group for row in rows]
    num_folds = max(2, round(1 / val_fraction))
    groups_of = Counter(label for label, _ in set(zip(labels, groups, strict=True)))
    rare = [f"{label} ({count})" for label, count in groups_of.items() if count < num_folds]
    if not rows or rare:
        raise ManifestError(
            f"a split with {val_fraction:.0%} for validation needs {num_folds} groups of every label; "
            f"too few: {', '.join(rare) or 'the manifest is empty'}; add photos or raise --val-fraction"
        )
    folds = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed).split(labels, labels, groups)
    train_index, val_index = next(folds)
    train = tuple(rows[i] for i in train_index)
    val = tuple(rows[i] for i in val_index)
    return Split(train=train, val=val, fingerprint=fingerprint_of(train, val))


def fingerprint_of(train: Sequence[Row], val: Sequence[Row]) -> str:
    """Return the sha256 over every row and its side."""
    lines = sorted(
        f"{side},{row.image.name},{row.label},{row.group}"
        for side, part in (("train", train), ("val", val))
        for row in part
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class LesionPhotos(Dataset[Batch]):
    """Photos decoded once, kept as uint8 squares in memory, with the columns of their labels.

    Args:
        labels: names of the diagnoses in column order.
        side_px: side of the squares; 96 px are 28 kB a photo.

    Raises:
        ManifestError: a photo cannot be read, or a label is unknown.
    """

    def __init__(self, rows: Sequence[Row], *, labels: Sequence[str], side_px: int) -> None:
        try:
            found = [find_diagnosis(row.label) for row in rows]
        except UnknownDiagnosisError as error:
            raise ManifestError(str(error)) from error
        self.diagnosis_B = torch.tensor([labels.index(diagnosis.name) for diagnosis in found])
        self.malignant_B = torch.tensor([int(diagnosis.group == "malignant") for diagnosis in found])
        self._risk_BR = F.one_hot(self.malignant_B, len(GROUPS)).float()
        self._diagnosis_BK = F.one_hot(self.diagnosis_B, len(labels)).float()
        with ThreadPoolExecutor() as pool:
            self.image_BHWC = torch.from_numpy(
                np.stack(list(pool.map(lambda row: _square(row, side_px), rows)))
            )

    def __len__(self) -> int:
        return len(self.image_BHWC)

    def __getitem__(self, index: int) -> Batch:
        return {
            "image": self.image_BHWC[index],
            "risk": self._risk_BR[index],
            "diagnosis": self._diagnosis_BK[index],
        }


def _square(row: Row, side_px: int) -> np.ndarray:
    try:
        return decode_square(row.image.read_bytes(), side_px=side_px).image_HWC
    except PhotoError as error:
        raise ManifestError(f"{row.image}: {error}") from error


def class_names(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the diagnoses that occur, in the taxonomy's order: the columns of the network to be trained."""
    try:
        return in_column_order({row.label for row in rows})
    except UnknownDiagnosisError as error:
        raise ManifestError(str(error)) from error


class TrainBatches:
    """Augmented, normalised batches, epoch after epoch; classes drawn by ``config.class_balance``."""

    def __init__(self, photos: LesionPhotos, config: LesionTraining, generator: torch.Generator) -> None:
        self.epoch = 0
        self._config = config
        self._generator = generator
        count_K = torch.bincount(photos.diagnosis_B).clamp_min(1)
        weight_B = count_K.double() ** -config.class_balance
        sampler = WeightedRandomSampler(
            weight_B[photos.diagnosis_B].tolist(), num_samples=len(photos), generator=generator
        )
        self._loader = DataLoader(
            photos, batch_size=config.batch_size, sampler=sampler, drop_last=True, generator=generator
        )

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        config = self._config
        for batch in self._loader:
            on_device = {name: tensor.to(config.device, non_blocking=True) for name, tensor in batch.items()}
            image = augment(
                on_device["image"], config.side_px(self.epoch), config.augmentation, self._generator
            )
            ready = on_device | {"image": normalized(image)}
            mixes = torch.rand((), generator=self._generator).item() < config.mix_share
            yield mixed(ready, self._generator) if mixes else ready


def plain_batches(photos: LesionPhotos, config: LesionTraining) -> Iterator[Batch]:
    """Yield all photos once, in order, as serving would see them: no augmentation."""
    for batch in DataLoader(photos, batch_size=config.batch_size):
        on_device = {name: tensor.to(config.device) for name, tensor in batch.items()}
        yield on_device | {"image": normalized(on_device["image"])}


def mixed(batch: Batch, generator: torch.Generator) -> Batch:
    """Mix every image of a batch with another one, and their targets in the same proportion.

    Every other time the two are laid over each other (mixup), else a square of one is set into the other
    (CutMix). The proportion is drawn evenly from 0 to 1.

    Source: Zhang et al. 2018, arXiv:1710.09412; Yun et al. 2019, arXiv:1905.04899.
    """
    image_BCHW = batch["image"]
    other_B = torch.randperm(len(image_BCHW), generator=generator).to(image_BCHW.device)
    share = torch.rand((), generator=generator).item()
    if torch.rand((), generator=generator) < 0.5:
        image_BCHW = share * image_BCHW + (1 - share) * image_BCHW[other_B]
    else:
        side_px = image_BCHW.shape[-1]
        hole_px = round(side_px * (1 - share) ** 0.5)
        top, left = torch.randint(side_px - hole_px + 1, (2,), generator=generator).tolist()
        hole = (..., slice(top, top + hole_px), slice(left, left + hole_px))
        image_BCHW = image_BCHW.clone()
        image_BCHW[hole] = batch["image"][other_B][hole]
        share = 1 - hole_px**2 / side_px**2
    targets = {
        name: share * batch[name] + (1 - share) * batch[name][other_B] for name in ("risk", "diagnosis")
    }
    return {"image": image_BCHW, **targets}


def normalized(image_BHWC: Tensor) -> Tensor:
    """Return network input in the memory layout that convolutions run fastest in."""
    return normalize(image_BHWC).contiguous(memory_format=torch.channels_last)
