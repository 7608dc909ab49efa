"""The progress task: recipes, data, network and losses of a run, its evaluation and release."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import nn

from models.face.detector import MtcnnFaceDetector
from models.progress.engine import load_progress_engine
from models.progress.network import ProgressNet
from train.data.manifest import ManifestError, Row
from train.data.split import Split, split_people
from train.distributed import DistributedContext
from train.pretrained import load_checkpoint_weights
from train.progress.config import ProgressTraining
from train.progress.evaluation import evaluate_progress
from train.progress.evaluation_series import SeriesSource, evaluation_series
from train.progress.face_crops import crop_faces
from train.progress.labelled_series import read_series
from train.progress.loss import batch_loss
from train.progress.release import release_progress
from train.progress.series import Series
from train.progress.series_batches import LabelledSeriesBatches
from train.progress.synthetic.generation import SyntheticSeriesBatches, in_batches, validation_series
from train.report.html_report import Report
from train.task import EvaluationData, FoldMetrics, Recipe, TaskSetup, TrainBatches, TrainedRun

FACE_DESCRIPTOR = Path("weights/face-descriptor")
"""Evaluated with a progress network if it is there."""
RECIPES = {
    "progress": Recipe(
        description="Progress network on synthetic series: a quarter of an hour on one CPU core.",
        training=ProgressTraining(),
    ),
    "followup": Recipe(
        description="Progress network on labelled series from skinserve extract-faces.",
        training=ProgressTraining(
            manifest="data/followup/manifest.parquet",
            faces="data/followup/faces",
            run="runs/followup",
            name="progress-followup",
            version="1",
            num_epochs=30,
            last_photo_weight=1.0,
        ),
    ),
}


class ProgressTask:
    """Classify a series of photos of one face: improved or worsened."""

    name = "progress"
    config = ProgressTraining
    network: Callable[..., nn.Module] = ProgressNet
    recipes: Mapping[str, Recipe] = RECIPES

    def split(self, config: ProgressTraining, rows: Sequence[Row], *, num_folds: int = 0) -> list[Split]:
        """Split by person; there is no cross-validation."""
        if num_folds:
            raise ManifestError(
                "--folds is for the lesion network; the progress network has one split by person"
            )
        return [split_people(rows, val_fraction=config.val_fraction, seed=config.seed)]

    def build(self, config: ProgressTraining, context: DistributedContext, split: Split) -> TaskSetup:
        """Build network, batches and losses.

        Raises:
            ManifestError: the photos cannot be trained on.
            FaceExtractionError: the folder of faces cannot be used.
            PretrainedWeightsError: the initial weights cannot be read or do not fit.
        """
        config = replace(config, device=context.device)
        train_batches, val_series = _data_of(config, context, split)
        architecture = {
            "input_px": config.input_px,
            "filters": config.filters,
            "hidden": config.hidden,
            "dropout": config.dropout,
        }
        net = ProgressNet(**architecture)
        own_series = val_series[context.rank :: context.world_size]
        return TaskSetup(
            net=net.to(context.device),
            train_batches=train_batches,
            val_batches=lambda: in_batches(own_series, config),
            train_loss=partial(batch_loss, last_photo_weight=config.last_photo_weight),
            val_loss=batch_loss,
            architecture=architecture,
            initialization=load_checkpoint_weights(net, config.init, kind=self.name),
            data_fingerprint=f"{len(train_batches)} batches, {len(val_series)} validation series",
        )

    def evaluate(self, checkpoint: Path, data: EvaluationData) -> Report:
        """Evaluate a checkpoint on labelled or synthetic series."""
        engine = load_progress_engine(checkpoint, device=data.device)
        return evaluate_progress(
            engine, data.rows, data.train_rows, faces=data.faces, descriptor=FACE_DESCRIPTOR
        )

    def release(self, runs: Sequence[TrainedRun], folder: Path) -> list[FoldMetrics]:
        """Write the network of one run."""
        [run] = runs
        config: ProgressTraining = run.config
        source = SeriesSource(
            faces=config.faces,
            drawing=config.drawing,
            size_px=config.input_px,
            seed=config.seed,
            num_series=config.num_val_series,
            device=config.device,
        )
        release_progress(run, evaluation_series(run.split.val, run.split.train, source), folder)
        return []


def _data_of(
    config: ProgressTraining, context: DistributedContext, split: Split
) -> tuple[TrainBatches, list[Series]]:
    """Return the batches of the training set and the series of the validation set."""
    if config.faces:
        batches = LabelledSeriesBatches(read_series(config.faces, split.train), config, context)
        return batches, read_series(config.faces, split.val)
    detector = MtcnnFaceDetector(size_px=config.input_px)
    own_seed = {} if context.world_size == 1 else {"seed": context.epoch_seed(config.seed, 0, shared=False)}
    batches = SyntheticSeriesBatches(crop_faces(split.train, detector), replace(config, **own_seed))
    return batches, validation_series(
        crop_faces(split.val, detector),
        config.drawing,
        num_series=config.num_val_series,
        seed=config.seed,
        size_px=config.input_px,
    )
