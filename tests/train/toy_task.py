"""Training part of a third task, the area of a wound; in ``train`` it would be one folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.checkpoint import CheckpointMeta, load_weights, read_meta, save_checkpoint
from models.images import decode_square
from train.config import Training, stored_settings
from train.data.manifest import Row
from train.data.split import Split, split_people
from train.distributed import DistributedContext
from train.loop import Batch
from train.report.html_report import Report
from train.task import EvaluationData, FoldMetrics, Recipe, TaskSetup, TrainedRun


@dataclass(frozen=True, kw_only=True)
class WoundTraining(Training):
    manifest: str = "data/wounds/manifest.parquet"
    run: str = "runs/wound"
    val_fraction: float = 0.25
    name: str = "wound-toy"
    version: str = "1"
    num_epochs: int = 40
    batch_size: int = 4
    learning_rate: float = 0.1
    warmup_fraction: float = 0.1
    weight_decay: float = 0.0
    ema_decay: float = 0.5
    seed: int = 0


class WoundReport(Report):
    template, unit = Path(__file__).with_name("toy_report.html.jinja"), "photos"
    mean_error: float


class Batches(list[Batch]):
    epoch = 0


def batches_of(rows: Sequence[Row], batch_size: int) -> Batches:
    photos = [decode_square(Path(row.image).read_bytes(), side_px=16).image_HWC for row in rows]
    colour_B3 = torch.from_numpy(np.stack(photos).mean((1, 2)) / 255).float()
    area_B = torch.tensor([float(row.label) for row in rows])
    parts = torch.arange(len(rows)).split(batch_size)
    return Batches({"colour": colour_B3[part], "area": area_B[part]} for part in parts)


def squared_error(net: nn.Module, batch: Batch) -> Tensor:
    return (net(batch["colour"])[:, 0] - batch["area"]) ** 2


class WoundTask:
    name = "wound"
    config = WoundTraining
    network: Callable[..., nn.Module] = nn.Linear
    recipes: Mapping[str, Recipe] = {"wound": Recipe(description="A wound.", training=WoundTraining())}

    def split(self, config: WoundTraining, rows: Sequence[Row], *, num_folds: int = 0) -> list[Split]:
        return [split_people(rows, val_fraction=config.val_fraction, seed=config.seed)]

    def build(self, config: WoundTraining, context: DistributedContext, split: Split) -> TaskSetup:
        architecture = {"in_features": 3, "out_features": 1}
        return TaskSetup(
            net=nn.Linear(3, 1),
            train_batches=batches_of(split.train, config.batch_size),
            val_batches=lambda: batches_of(split.val, config.batch_size),
            train_loss=squared_error,
            val_loss=squared_error,
            architecture=architecture,
            initialization="random weights",
            data_fingerprint=split.fingerprint,
            labels=("area",),
        )

    def evaluate(self, checkpoint: Path, data: EvaluationData) -> Report:
        net, num = nn.Linear(3, 1), len(data.rows)
        net.load_state_dict(load_weights(checkpoint, read_meta(checkpoint)))
        [batch] = batches_of(data.rows, num)
        error = squared_error(net, batch).sqrt().mean().item()
        return WoundReport(kind=self.name, n=num, mean_error=error)

    def release(self, runs: Sequence[TrainedRun], folder: Path) -> list[FoldMetrics]:
        [run] = runs
        meta = {"kind": self.name, "name": run.config.name, "version": run.config.version, "groups": {}}
        meta |= {"architecture": run.architecture, "labels": run.labels, "thresholds": {}, "input_px": 16}
        meta |= {"mean": (0, 0, 0), "std": (1, 1, 1), "training": stored_settings(run.config)}
        meta |= {"training_data": "drawn", "data_licence": "CC0", "data_fingerprint": run.split.fingerprint}
        folder.mkdir(parents=True, exist_ok=True)
        save_checkpoint(folder, run.net, CheckpointMeta.model_validate(meta), "# Wound\n")
        return []
