"""What each of the two networks is taught from: its batches, its losses and its first weights."""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.diagnoses import find_diagnosis
from models.face.detector import MtcnnFaceDetector
from models.lesion.network import LesionNet
from models.progress.network import ProgressNet
from train.config import LesionTraining, ProgressTraining, Training
from train.data.manifest import ManifestError, fingerprint_of
from train.data.split import Split
from train.distributed import DistributedContext
from train.lesion.dataset import LesionPhotos, TrainBatches, class_names, plain_batches
from train.loop import Batch, LossFunction
from train.losses import lesion_loss, progress_loss
from train.pretrained import load_pretrained
from train.progress.face_crops import crop_faces
from train.progress.series import Series
from train.progress.series_batches import LabelledSeriesBatches
from train.progress.synthetic.generation import SyntheticSeriesBatches, in_batches, validation_series


@dataclass(kw_only=True)
class Lesson:
    """All that differs between the two networks' runs."""

    net: nn.Module
    batches: Any
    """Iterable of batches with a length and a settable ``epoch``."""
    val_batches: Callable[[], Iterable[Batch]]
    loss_of: LossFunction
    val_loss_of: LossFunction
    split: Split
    data: str
    """Fingerprint of what could be read, which must be the same on all workers."""
    notes: dict[str, Any]
    """What a release must know of the run beside its settings."""


def lesion_lesson(config: LesionTraining, context: DistributedContext, split: Split) -> Lesson:
    """Return photos and network of the lesion run.

    Raises:
        ManifestError: the photos cannot be trained on.
        PretrainedWeightsError: the first weights cannot be had or do not fit.
    """
    labels = class_names(split.train)
    _check_validation(split, labels, config)
    architecture = {"num_diagnoses": len(labels), "input_px": config.input_px, "dropout": config.dropout}
    net = LesionNet(**architecture)
    start = _load_pretrained(net, config, labels)  # first: decoding the photos may take hours
    photos = partial(
        LesionPhotos, labels=labels, cache=config.cache, max_unreadable_share=config.max_unreadable_share
    )
    train_photos = photos(split.train, side_px=round(config.input_px / config.augmentation.min_scale))
    val_photos = photos(split.val, side_px=config.input_px)
    loss_of = partial(
        _lesion_loss_of,
        label_smoothing=config.label_smoothing,
        weight_K=_class_weights(train_photos, config, context.device),
    )
    return Lesson(
        net=net.to(context.device).to(memory_format=torch.channels_last),
        batches=TrainBatches(train_photos, config, context),
        val_batches=lambda: plain_batches(val_photos, config.batch_size, context),
        loss_of=loss_of,
        val_loss_of=_lesion_loss_of,
        split=split,
        data=fingerprint_of(train_photos.rows, val_photos.rows),
        notes={
            "kind": "lesion",
            "batch_size": config.batch_size,
            "manifest": config.manifest,
            "cache": config.cache,
            "architecture": architecture,
            "start": start,
            "labels": [*labels],
        },
    )


def _check_validation(split: Split, labels: Sequence[str], config: LesionTraining) -> None:
    found = {find_diagnosis(name) for name in class_names(split.val, at_least=1)}
    unknown = sorted(one.name for one in found if one.name not in labels)
    if unknown:
        raise ManifestError(
            f"{', '.join(unknown)}: photos to judge by and none to learn from; add some or take them out"
        )
    if config.min_sensitivity is not None and not any(one.group == "malignant" for one in found):
        raise ManifestError("--min-sensitivity needs malignant photos to judge by, and there are none")


def progress_lesson(config: ProgressTraining, context: DistributedContext, split: Split) -> Lesson:
    """Return series and network of the progress run; raises as ``lesion_lesson``."""
    if config.faces:
        from train.progress.extract_faces import read_series

        batches = LabelledSeriesBatches(read_series(config.faces, split.train), config, context)
        val_series = read_series(config.faces, split.val)
    else:
        detector = MtcnnFaceDetector(device=context.device, size_px=config.input_px)
        others = {} if context.world_size == 1 else {"seed": context.epoch_seed(config.seed, 0, shared=False)}
        batches = SyntheticSeriesBatches(crop_faces(split.train, detector), replace(config, **others))
        val_series = _drawn_validation(config, split, detector)
    architecture = {
        "input_px": config.input_px,
        "filters": config.filters,
        "hidden": config.hidden,
        "dropout": config.dropout,
    }
    net = ProgressNet(**architecture)
    start = _load_pretrained(net, config, ())
    mine = val_series[context.rank :: context.world_size]
    return Lesson(
        net=net.to(context.device),
        batches=batches,
        val_batches=lambda: in_batches(mine, config),
        loss_of=partial(_progress_loss_of, last_photo_weight=config.last_photo_weight),
        val_loss_of=_progress_loss_of,
        split=split,
        data=f"{len(batches)} batches, {len(val_series)} series to judge by",
        notes={
            "kind": "progress",
            "batch_size": config.batch_size,
            "manifest": config.manifest,
            "faces": config.faces,
            "architecture": architecture,
            "start": start,
        },
    )


def _load_pretrained(net: nn.Module, config: Training, labels: tuple[str, ...]) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        return load_pretrained(
            net,
            config.init,
            kind="lesion" if isinstance(config, LesionTraining) else "progress",
            labels=labels,
            cache=Path(scratch),
        )


def _class_weights(photos: LesionPhotos, config: LesionTraining, device: str) -> Tensor | None:
    """(K,) weights of the classes in the loss, mean 1 over the photos; None where the sampler balances."""
    if config.balance_by == "sampler" or not config.class_balance:
        return None
    count_K = torch.bincount(photos.diagnosis_B).clamp_min(1).float()
    weight_K = count_K**-config.class_balance
    return (weight_K * count_K.sum() / (weight_K * count_K).sum()).to(device)


def _lesion_loss_of(
    net: nn.Module, batch: Batch, label_smoothing: float = 0.0, weight_K: Tensor | None = None
) -> Tensor:
    loss_B = lesion_loss(
        net(batch["image"]), batch["risk"], batch["diagnosis"], label_smoothing=label_smoothing
    )
    return loss_B if weight_K is None else loss_B * (batch["diagnosis"] @ weight_K)


def _progress_loss_of(net: nn.Module, batch: Batch, last_photo_weight: float = 1.0) -> Tensor:
    logits_BTC = net(batch["photos"], batch["present"], batch["present_index"])
    return progress_loss(
        logits_BTC, batch["present"], batch["improvement"], last_photo_weight=last_photo_weight
    )


def _drawn_validation(config: ProgressTraining, split: Split, detector: MtcnnFaceDetector) -> list[Series]:
    """Return the series drawn on the people that are not learned from, the same at every call."""
    return validation_series(
        crop_faces(split.val, detector),
        config.drawing,
        num_sequences=config.num_val_series,
        seed=config.seed,
        size_px=config.input_px,
    )
