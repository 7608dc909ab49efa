"""What one training process does, from manifest to checkpoint folder; reads as a table of contents."""

import json
import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from models.face import FaceFinder
from models.lesion import LesionNet
from models.progress import ProgressNet
from train.config import LesionTraining, ProgressTraining, resolved
from train.data import (
    LesionPhotos,
    TrainBatches,
    class_names,
    plain_batches,
    read_manifest,
    split_by_group,
)
from train.faces import cut_faces, split_by_person
from train.loop import Batch, TrainingState, evaluate, new_ema, train_epoch
from train.losses import lesion_loss, progress_loss
from train.release import release_lesion
from train.release_progress import release_progress
from train.sequences import SequenceBatches, batches_of, validation_sequences

log = logging.getLogger(__name__)


def run_lesion(config: LesionTraining) -> Path:
    """Train one lesion network, or go on where the same command stopped; return its checkpoint folder."""
    torch.manual_seed(config.seed)
    config.run.mkdir(parents=True, exist_ok=True)
    split = split_by_group(read_manifest(config.manifest), val_fraction=config.val_fraction, seed=config.seed)
    labels = class_names(split.train)
    train_photos = LesionPhotos(
        split.train, labels=labels, side_px=round(config.input_px / config.augmentation.min_scale)
    )
    val_photos = LesionPhotos(split.val, labels=labels, side_px=config.input_px)

    architecture = {"num_diagnoses": len(labels), "input_px": config.input_px, "dropout": config.dropout}
    net = LesionNet(**architecture).to(config.device).to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(config.seed)
    batches = TrainBatches(train_photos, config, generator)
    state = new_state(net, config, split.fingerprint, steps_per_epoch=len(batches), generator=generator)
    state.resume_if_any(config.run / "state.pt")
    loss_of = partial(_lesion_loss_of, label_smoothing=config.label_smoothing)

    while state.epoch < config.num_epochs:
        started = time.monotonic()
        batches.epoch = state.epoch
        train_loss = train_epoch(
            state, batches, loss_of, max_grad_norm=config.max_grad_norm, bf16=config.bf16
        )
        val_loss = evaluate(state.ema, plain_batches(val_photos, config), _lesion_loss_of, bf16=config.bf16)
        state.save(config.run / "state.pt")
        report_epoch(
            config.run, {"epoch": state.epoch, "train_loss": train_loss, "val_loss": val_loss}, started
        )
    return release_lesion(state.ema, config, split, labels, architecture)


def run_progress(config: ProgressTraining) -> Path:
    """Train one progress network, or go on where the same command stopped; return its checkpoint folder."""
    torch.manual_seed(config.seed)
    config.run.mkdir(parents=True, exist_ok=True)
    split = split_by_person(
        read_manifest(config.manifest), val_fraction=config.val_fraction, seed=config.seed
    )
    finder = FaceFinder(device=config.device, size_px=config.input_px)
    train_faces, val_faces = cut_faces(split.train, finder), cut_faces(split.val, finder)
    val_sequences = validation_sequences(
        val_faces,
        config.drawing,
        num_sequences=config.num_val_sequences,
        seed=config.seed,
        size_px=config.input_px,
    )

    architecture = {
        "input_px": config.input_px,
        "filters": config.filters,
        "hidden": config.hidden,
        "dropout": config.dropout,
    }
    net = ProgressNet(**architecture).to(config.device)
    generator = torch.Generator().manual_seed(config.seed)
    batches = SequenceBatches(train_faces, config)
    state = new_state(net, config, split.fingerprint, steps_per_epoch=len(batches), generator=generator)
    state.resume_if_any(config.run / "state.pt")
    loss_of = partial(_progress_loss_of, last_photo_weight=config.last_photo_weight)

    while state.epoch < config.num_epochs:
        started = time.monotonic()
        batches.epoch = state.epoch
        train_loss = train_epoch(state, batches, loss_of, max_grad_norm=config.max_grad_norm)
        val_loss = evaluate(state.ema, batches_of(val_sequences, config), _progress_loss_of)
        state.save(config.run / "state.pt")
        report_epoch(
            config.run, {"epoch": state.epoch, "train_loss": train_loss, "val_loss": val_loss}, started
        )
    return release_progress(state.ema, config, split, architecture, val_sequences)


def new_state(
    net: nn.Module,
    config: LesionTraining | ProgressTraining,
    data_fingerprint: str,
    *,
    steps_per_epoch: int,
    generator: torch.Generator,
) -> TrainingState:
    """Return the state before the first step: AdamW, no decay on vectors, one cycle of the learning rate."""
    matrices = [p for p in net.parameters() if p.ndim > 1]
    vectors = [p for p in net.parameters() if p.ndim <= 1]
    optimizer = AdamW(
        [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=config.learning_rate,
        fused=True,
    )
    schedule = OneCycleLR(
        optimizer,
        max_lr=config.learning_rate,
        total_steps=config.num_epochs * steps_per_epoch,
        pct_start=config.warmup_fraction,
        cycle_momentum=False,
    )
    return TrainingState(
        net=net,
        optimizer=optimizer,
        schedule=schedule,
        ema=new_ema(net, config.ema_decay),
        generator=generator,
        settings=resolved(config) | {"data_fingerprint": data_fingerprint},
    )


def report_epoch(run: Path, metrics: dict[str, Any], started: float) -> None:
    """Log one epoch and append it to ``log.jsonl`` of the run."""
    metrics = metrics | {"seconds": round(time.monotonic() - started, 1)}
    log.info(" ".join(f"{name} {round(value, 4)}" for name, value in metrics.items()))
    with (run / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(metrics) + "\n")


def _lesion_loss_of(net: nn.Module, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
    return lesion_loss(
        net(batch["image"]), batch["risk"], batch["diagnosis"], label_smoothing=label_smoothing
    )


def _progress_loss_of(net: nn.Module, batch: Batch, last_photo_weight: float = 1.0) -> Tensor:
    logits_BTC = net(batch["photos"], batch["present"])
    return progress_loss(
        logits_BTC, batch["present"], batch["improvement"], last_photo_weight=last_photo_weight
    )
