"""The lesion task: recipes, data, network and losses of a run, its evaluation and release."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from models.diagnoses import find_diagnosis
from models.lesion.engine_loader import load_lesion_engine
from models.lesion.gate import gate_of
from models.lesion.localizer import Localizer
from models.lesion.network import LesionNet
from train.data.manifest import ManifestError, Row, fingerprint_of
from train.data.split import Split, fold_rows, split_rows
from train.distributed import DistributedContext
from train.lesion.config import LesionTraining
from train.lesion.dataset import LesionPhotos, LesionTrainBatches, class_names, val_batches
from train.lesion.drawn_lesions import draw_lesion_photos
from train.lesion.evaluation import evaluate_lesion
from train.lesion.loss import batch_loss
from train.lesion.pretrained import initialize
from train.lesion.release import release_ensemble, release_lesion
from train.report.html_report import Report
from train.task import EvaluationData, EvaluationError, FoldMetrics, Recipe, TaskSetup, TrainedRun

RECIPES = {
    "lesion": Recipe(
        description="Lesion network: from random weights two hours and a half on one CPU core.",
        training=LesionTraining(),
    ),
    "smoke": Recipe(
        description="Lesion network on synthetic photos in under a minute: tests machine and cluster.",
        training=LesionTraining(
            manifest="runs/smoke/manifest.parquet",
            run="runs/smoke",
            cache="runs/smoke/cache",
            name="lesion-smoke",
            version="0",
            input_px=32,
            start_px=32,
            num_epochs=2,
            batch_size=16,
        ),
        draw_data=lambda manifest: draw_lesion_photos(manifest.parent / "photos", manifest, num_photos=120),
    ),
}


class LesionTask:
    """Classify one photo of a lesion: risk and diagnosis."""

    name = "lesion"
    config = LesionTraining
    network: Callable[..., nn.Module] = LesionNet
    recipes: Mapping[str, Recipe] = RECIPES

    def split(self, config: LesionTraining, rows: Sequence[Row], *, num_folds: int = 0) -> list[Split]:
        """Split whole groups of photos, stratified by diagnosis."""
        if num_folds:
            return fold_rows(rows, num_folds=num_folds, seed=config.seed)
        return [split_rows(rows, val_fraction=config.val_fraction, seed=config.seed)]

    def build(self, config: LesionTraining, context: DistributedContext, split: Split) -> TaskSetup:
        """Build network, batches and losses.

        Raises:
            ManifestError: the photos cannot be trained on.
            PretrainedWeightsError: the initial weights cannot be read or do not fit.
        """
        labels = class_names(split.train)
        _check_validation_set(split, labels, config)
        architecture = {"num_diagnoses": len(labels), "input_px": config.input_px, "dropout": config.dropout}
        net = LesionNet(**architecture)
        initialization = initialize(net, config.init, labels=labels)  # first: decoding may take hours
        photos = partial(
            LesionPhotos, labels=labels, cache=config.cache, max_unreadable_share=config.max_unreadable_share
        )
        train_photos = photos(split.train, side_px=round(config.input_px / config.augmentation.min_scale))
        val_photos = photos(split.val, side_px=config.input_px)
        return TaskSetup(
            net=net.to(context.device).to(memory_format=torch.channels_last),
            train_batches=LesionTrainBatches(train_photos, config, context),
            val_batches=lambda: val_batches(val_photos, config.batch_size, context),
            train_loss=partial(
                batch_loss,
                label_smoothing=config.label_smoothing,
                weight_K=_class_weights(train_photos, config, context.device),
            ),
            val_loss=batch_loss,
            architecture=architecture,
            initialization=initialization,
            data_fingerprint=fingerprint_of(train_photos.rows, val_photos.rows),
            labels=labels,
        )

    def evaluate(self, checkpoint: Path, data: EvaluationData) -> Report:
        """Evaluate a checkpoint as served; one with a gate on the crops of its localizer."""
        try:
            engine = load_lesion_engine(checkpoint, device=data.device, engine=data.engine)
        except ValueError as error:  # the engine does not run on this machine or device
            raise EvaluationError(str(error)) from error
        gate = gate_of(engine.meta)
        return evaluate_lesion(
            engine,
            data.rows,
            localizer=None if gate is None else Localizer(checkpoint, gate),
            degrade=data.degrade,
            without_lesion=data.without_lesion,
        )

    def release(self, runs: Sequence[TrainedRun], folder: Path) -> list[FoldMetrics]:
        """Write one network, or the networks of all folds as an ensemble."""
        if len(runs) == 1:
            release_lesion(runs[0], folder)
            return []
        return [
            {name: math.nan if value is None else value for name, value in fold}
            for fold in release_ensemble(runs, folder)
        ]


def _check_validation_set(split: Split, labels: Sequence[str], config: LesionTraining) -> None:
    diagnoses = {find_diagnosis(name) for name in class_names(split.val, at_least=1)}
    unknown = sorted(one.name for one in diagnoses if one.name not in labels)
    if unknown:
        raise ManifestError(
            f"{', '.join(unknown)}: in the validation set and not in the training set; add photos, or "
            "remove these"
        )
    if config.min_sensitivity is not None and not any(one.group == "malignant" for one in diagnoses):
        raise ManifestError("--min-sensitivity needs malignant photos in the validation set; it has none")


def _class_weights(photos: LesionPhotos, config: LesionTraining, device: str) -> Tensor | None:
    """Return the class weights, (K,), mean 1 over photos; None if the sampler balances."""
    if config.balance_by == "sampler" or not config.class_balance:
        return None
    count_K = torch.bincount(photos.diagnosis_B).clamp_min(1).float()
    weight_K = count_K**-config.class_balance
    return (weight_K * count_K.sum() / (weight_K * count_K).sum()).to(device)
