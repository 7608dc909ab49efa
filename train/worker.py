"""What one training process does, from manifest to the state of the last epoch; reads as a table of contents."""

import logging
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau

from models.face import FaceFinder
from models.lesion import LesionNet
from models.progress import ProgressNet
from models.storage import StorageError
from train.config import LesionTraining, ProgressTraining, Training, resolved
from train.data import LesionPhotos, TrainBatches, class_names, plain_batches
from train.faces import cut_faces
from train.initial import InitialWeightsError, set_initial_weights
from train.loop import Batch, DivergedError, LossFunction, Metrics, OtherRunError, TrainingState
from train.loop import evaluate, new_ema, train_epoch
from train.losses import lesion_loss, progress_loss
from train.manifest import ManifestError, Row, read_manifest
from train.run_folder import RunFolder, stalled
from train.sequences import SequenceBatches, batches_of, validation_sequences

from train.series_batches import RealBatches
from train.split import Split, read_split, split_people, split_rows, write_split
from train.team import RunStoppedError, Team

log = logging.getLogger(__name__)

REFUSALS = (ManifestError, InitialWeightsError, OtherRunError, StorageError, DivergedError, RunStoppedError)
"""What ends a run in one message; anything else is a fault, and Ray starts the workers again."""


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
    notes: dict[str, Any]
    """What a release must know of the run beside its settings."""


def run(config: Training, team: Team) -> None:
    """Train one network, or go on where the same command stopped; every epoch's state is in the run's folder.

    Raises:
        RunStoppedError: the run cannot start or go on; one message, the same on every worker.
    """
    config = replace(config, device=team.device)
    folder = RunFolder(address=config.run, keep_states=config.keep_states)
    torch.manual_seed(config.seed)
    lesson = team.together(lambda: _prepare(config, team), REFUSALS)
    state = new_state(team.prepare(lesson.net), config, lesson.split, steps_per_epoch=len(lesson.batches))
    team.together(lambda: _resume(state, folder), REFUSALS)

    while state.epoch < config.num_epochs and not stalled(state.history, config.stop_patience):
        started = time.monotonic()
        epoch = lesson.batches.epoch = state.epoch
        torch.manual_seed(team.seed_of(config.seed, epoch, shared=False))  # dropout
        losses, step_losses = team.together(lambda: _one_epoch(config, team, lesson, state), REFUSALS)
        metrics = {"epoch": epoch + 1, **losses, "seconds": round(time.monotonic() - started, 1)}
        state.end_epoch(metrics)
        if team.leads:
            log.info(_line(metrics, config.num_epochs))
        team.together(lambda: folder.save(state, lesson.notes, step_losses) if team.leads else None, REFUSALS)
        team.report(metrics)


def train_on_ray(config: Training) -> str:
    """Run under Ray Train, on every worker with the same settings.

    Returns:
        Why the run was refused, or nothing: an exception would make Ray start the workers again in vain.
    """
    import ray.train
    import ray.train.torch
    from ray.experimental import tqdm_ray

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    context = ray.train.get_context()
    team = Team(
        rank=context.get_world_rank(),
        size=context.get_world_size(),
        device=str(ray.train.torch.get_device()),
        prepare=ray.train.torch.prepare_model,
        report=ray.train.report,
        progress_bar=tqdm_ray.tqdm,
    )
    try:
        run(config, team)
    except RunStoppedError as error:
        return str(error)
    return ""


def split_for(config: Training, rows: list[Row]) -> Split:
    """Return the split that the settings ask for."""
    if config.split:
        return read_split(rows, config.split)
    draw = split_rows if isinstance(config, LesionTraining) else split_people
    return draw(rows, val_fraction=config.val_fraction, seed=config.seed)


def _prepare(config: Training, team: Team) -> Lesson:
    split = split_for(config, read_manifest(config.manifest))
    if team.leads:
        write_split(split, RunFolder(address=config.run).split)
    if isinstance(config, LesionTraining):
        return lesion_lesson(config, team, split)
    assert isinstance(config, ProgressTraining)
    return _progress_lesson(config, team, split)


def lesion_lesson(config: LesionTraining, team: Team, split: Split) -> Lesson:
    labels = class_names(split.train)
    photos = partial(
        LesionPhotos, labels=labels, cache=config.cache, max_unreadable_share=config.max_unreadable_share
    )
    train_photos = photos(split.train, side_px=round(config.input_px / config.augmentation.min_scale))
    val_photos = photos(split.val, side_px=config.input_px)
    architecture = {"num_diagnoses": len(labels), "input_px": config.input_px, "dropout": config.dropout}
    net = LesionNet(**architecture)
    _set_initial_weights(net, config, labels)
    loss_of = partial(
        _lesion_loss_of,
        label_smoothing=config.label_smoothing,
        weight_K=_class_weights(train_photos, config, team.device),
    )
    return Lesson(
        net=net.to(team.device).to(memory_format=torch.channels_last),
        batches=TrainBatches(train_photos, config, team),
        val_batches=lambda: plain_batches(val_photos, config.batch_size, team),
        loss_of=loss_of,
        val_loss_of=_lesion_loss_of,
        split=split,
        notes={
            "kind": "lesion",
            "manifest": config.manifest,
            "cache": config.cache,
            "architecture": architecture,
            "labels": [*labels],
        },
    )


def _progress_lesson(config: ProgressTraining, team: Team, split: Split) -> Lesson:
    if config.faces:
        from train.cut import read_series

        batches = RealBatches(read_series(config.faces, split.train), config, team)
        val_series = read_series(config.faces, split.val)
    else:
        finder = FaceFinder(device=team.device, size_px=config.input_px)
        others = {} if team.size == 1 else {"seed": team.seed_of(config.seed, 0, shared=False)}
        batches = SequenceBatches(cut_faces(split.train, finder), replace(config, **others))
        val_series = drawn_validation(config, split, finder)
    architecture = {
        "input_px": config.input_px,
        "filters": config.filters,
        "hidden": config.hidden,
        "dropout": config.dropout,
    }
    net = ProgressNet(**architecture)
    _set_initial_weights(net, config, ())
    mine = val_series[team.rank :: team.size]
    return Lesson(
        net=net.to(team.device),
        batches=batches,
        val_batches=lambda: batches_of(mine, config),
        loss_of=partial(_progress_loss_of, last_photo_weight=config.last_photo_weight),
        val_loss_of=_progress_loss_of,
        split=split,
        notes={
            "kind": "progress",
            "manifest": config.manifest,
            "faces": config.faces,
            "architecture": architecture,
        },
    )


def _one_epoch(config: Training, team: Team, lesson: Lesson, state: TrainingState) -> tuple[Metrics, list[float]]:
    losses = train_epoch(
        state,
        team.watched(lesson.batches, f"epoch {state.epoch + 1} of {config.num_epochs}"),
        lesson.loss_of,
        max_grad_norm=config.max_grad_norm,
        bf16=config.bf16,
        freeze_batch_norm=config.freeze_batch_norm,
    )
    val_loss = evaluate(state.ema, lesson.val_batches(), lesson.val_loss_of, bf16=config.bf16)
    rate = state.optimizer.param_groups[0]["lr"]
    return {"train_loss": losses.mean, "val_loss": val_loss, "learning_rate": rate}, losses.steps


def new_state(
    net: nn.Module, config: Training, split: Split, *, steps_per_epoch: int
) -> TrainingState:
    """Return the state before the first step: AdamW, no decay on vectors, and the schedule."""
    matrices = [p for p in net.parameters() if p.ndim > 1]
    vectors = [p for p in net.parameters() if p.ndim <= 1]
    optimizer = AdamW(
        [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=config.learning_rate,
        fused=True,
    )
    if config.schedule == "plateau":
        schedule = ReduceLROnPlateau(
            optimizer, factor=config.plateau_factor, patience=config.plateau_patience
        )
    else:
        num_steps = max(4, config.num_epochs * steps_per_epoch)
        schedule = OneCycleLR(
            optimizer,
            max_lr=config.learning_rate,
            total_steps=num_steps,
            pct_start=max(config.warmup_fraction, 2 / num_steps),  # a rise of one step divides by zero
            cycle_momentum=False,
        )
    return TrainingState(
        net=net,
        optimizer=optimizer,
        schedule=schedule,
        ema=new_ema(net, config.ema_decay),
        settings=resolved(config) | {"data_fingerprint": split.fingerprint},
    )


def _resume(state: TrainingState, folder: RunFolder) -> None:
    content = folder.latest()
    if content is not None:
        state.load(content)
        log.info("going on after epoch %d of %s", state.epoch, folder.address)


def _set_initial_weights(net: nn.Module, config: Training, labels: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        set_initial_weights(
            net,
            config.init,
            kind="lesion" if isinstance(config, LesionTraining) else "progress",
            labels=labels,
            cache=Path(scratch),
        )


def _class_weights(photos: LesionPhotos, config: LesionTraining, device: str) -> Tensor | None:
    """(K,) weights of the classes in the loss, 1 on average over the photos; None where the sampler does it."""
    if config.balance_by == "sampler" or not config.class_balance:
        return None
    count_K = torch.bincount(photos.diagnosis_B).clamp_min(1).float()
    weight_K = count_K**-config.class_balance
    return (weight_K * count_K.sum() / (weight_K * count_K).sum()).to(device)


def _lesion_loss_of(
    net: nn.Module, batch: Batch, label_smoothing: float = 0.0, weight_K: Tensor | None = None
) -> Tensor:
    loss_B = lesion_loss(net(batch["image"]), batch["risk"], batch["diagnosis"], label_smoothing=label_smoothing)
    return loss_B if weight_K is None else loss_B * (batch["diagnosis"] @ weight_K)


def _progress_loss_of(net: nn.Module, batch: Batch, last_photo_weight: float = 1.0) -> Tensor:
    logits_BTC = net(batch["photos"], batch["present"])
    return progress_loss(
        logits_BTC, batch["present"], batch["improvement"], last_photo_weight=last_photo_weight
    )


def drawn_validation(config: ProgressTraining, split: Split, finder: FaceFinder) -> list[Any]:
    """Return the series drawn on the people that are not learned from, the same at every call."""
    return validation_sequences(
        cut_faces(split.val, finder),
        config.drawing,
        num_sequences=config.num_val_sequences,
        seed=config.seed,
        size_px=config.input_px,
    )


def _line(metrics: Metrics, num_epochs: int) -> str:
    left_s = metrics["seconds"] * (num_epochs - metrics["epoch"])
    figures = " ".join(f"{name} {value:.4g}" for name, value in metrics.items() if name != "epoch")
    return f"epoch {metrics['epoch']} of {num_epochs}: {figures}; about {left_s / 60:.0f} min left"
