"""What one training process does, from manifest to the last epoch's state; reads as a table of contents."""

import logging
import time
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau

from models.storage import StorageError
from train.config import LesionTraining, ProgressTraining, Training, resolved
from train.data.manifest import ManifestError, Row, read_manifest
from train.data.split import Split, read_split, split_people, split_rows, write_split
from train.distributed import RunStoppedError, Team
from train.loop import (
    DivergedError,
    EpochLosses,
    Metrics,
    OtherRunError,
    TrainingState,
    computes_bf16,
    evaluate,
    new_ema,
    train_epoch,
)
from train.pretrained import InitialWeightsError
from train.progress.face_store import CutError
from train.run_folder import RunFolder, stalled
from train.task_setup import Lesson, lesion_lesson, progress_lesson

log = logging.getLogger(__name__)

REFUSALS = (
    ManifestError,
    CutError,
    InitialWeightsError,
    OtherRunError,
    StorageError,
    DivergedError,
    RunStoppedError,
)
"""What ends a run in one message; anything else is a fault, and Ray starts the workers again."""


def run(config: Training, team: Team) -> None:
    """Train one network, or go on where the same command stopped; every epoch's state is in the run's folder.

    Raises:
        RunStoppedError: the run cannot start or go on; one message, the same on every worker.
    """
    config = replace(config, device=team.device)
    folder = RunFolder(address=config.run, keep_states=config.keep_states)
    torch.manual_seed(config.seed)
    rows = team.together(lambda: read_manifest(config.manifest), REFUSALS)
    drawn = team.together(lambda: _draw_split(config, rows, folder) if team.leads else None, REFUSALS)
    split = team.together(lambda: drawn or read_split(rows, folder.split), REFUSALS)
    lesson = team.together(lambda: _prepare(config, team, split), REFUSALS)
    team.agree("the photos that can be read", lesson.data)
    state = new_state(team.prepare(lesson.net), config, team, lesson)
    team.together(lambda: _resume(state, lesson.notes, folder, leads=team.leads), REFUSALS)
    team.agree("the epoch that they go on from", state.epoch)
    if config.bf16 and not computes_bf16(team.device):
        log.info("computing in float32: %s has no instructions for bfloat16", team.device)

    while state.epoch < config.num_epochs and not stalled(state.history, config.stop_patience):
        _run_epoch(config, team, folder, lesson, state)


def _run_epoch(config: Training, team: Team, folder: RunFolder, lesson: Lesson, state: TrainingState) -> None:
    started = time.monotonic()
    lesson.batches.epoch = state.epoch
    torch.manual_seed(team.seed_of(config.seed, state.epoch, shared=False))  # dropout
    losses, val_loss = team.together(lambda: _learn(config, team, lesson, state), REFUSALS)
    metrics = {
        "epoch": state.epoch + 1,
        "train_loss": losses.mean,
        "val_loss": val_loss,
        "learning_rate": state.optimizer.param_groups[0]["lr"],
        "seconds": round(time.monotonic() - started, 1),
    }
    state.end_epoch(metrics)
    if team.leads:
        log.info(_line(metrics, config.num_epochs))
    team.together(lambda: folder.save(state, lesson.notes, losses.steps) if team.leads else None, REFUSALS)
    team.report(metrics)


def train_on_ray(how: dict[str, Any]) -> str:
    """Run under Ray Train, on every worker with the same settings.

    Args:
        how: ``training``, the settings, and ``shows_progress``, whether somebody watches.

    Returns:
        Why the run was refused, or nothing: an exception would make Ray start the workers again in vain.
    """
    import ray.train
    import ray.train.torch
    from ray.experimental import tqdm_ray

    logging.getLogger().setLevel(logging.WARNING)  # of Ray and boto; Ray has set it to INFO
    logging.getLogger("train").setLevel(logging.INFO)
    context = ray.train.get_context()
    team = Team(
        rank=context.get_world_rank(),
        size=context.get_world_size(),
        device=str(ray.train.torch.get_device()),
        prepare=ray.train.torch.prepare_model,
        report=ray.train.report,
        progress_bar=tqdm_ray.tqdm if how["shows_progress"] else None,
    )
    try:
        run(how["training"], team)
    except RunStoppedError as error:
        return str(error)
    return ""


def split_for(config: Training, rows: list[Row]) -> Split:
    """Return the split that the settings ask for."""
    if config.split:
        return read_split(rows, config.split)
    draw = split_rows if isinstance(config, LesionTraining) else split_people
    return draw(rows, val_fraction=config.val_fraction, seed=config.seed)


def _draw_split(config: Training, rows: list[Row], folder: RunFolder) -> Split:
    """Draw the split and store it; what follows reads it, since finding duplicates takes a while.

    A run that has begun keeps its split: settings that ask for another are refused later, nothing is lost.
    """
    if folder.epochs() and not config.split:
        return read_split(rows, folder.split)
    split = split_for(config, rows)
    if not folder.epochs():
        write_split(split, folder.split)
    return split


def _prepare(config: Training, team: Team, split: Split) -> Lesson:
    if isinstance(config, LesionTraining):
        return lesion_lesson(config, team, split)
    assert isinstance(config, ProgressTraining)
    return progress_lesson(config, team, split)


def _learn(config: Training, team: Team, lesson: Lesson, state: TrainingState) -> tuple[EpochLosses, float]:
    bf16 = config.bf16 and computes_bf16(team.device)
    losses = train_epoch(
        state,
        team.watched(lesson.batches, f"epoch {state.epoch + 1} of {config.num_epochs}"),
        lesson.loss_of,
        max_grad_norm=config.max_grad_norm,
        bf16=bf16,
        freeze_batch_norm=config.freeze_batch_norm,
    )
    return losses, evaluate(state.ema, lesson.val_batches(), lesson.val_loss_of, bf16=bf16)


def new_state(net: nn.Module, config: Training, team: Team, lesson: Lesson) -> TrainingState:
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
        num_steps = max(4, config.num_epochs * len(lesson.batches))
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
        settings=settings_of(config, team, lesson.split),
    )


def settings_of(config: Training, team: Team, split: Split) -> dict[str, Any]:
    """Return by what a run is known again: four workers with 16 examples each go on for one with 64."""
    settings = resolved(config)
    examples_per_step = settings.pop("batch_size") * team.size
    return settings | {"examples_per_step": examples_per_step, "data_fingerprint": split.fingerprint}


def _resume(state: TrainingState, notes: dict[str, Any], folder: RunFolder, *, leads: bool) -> None:
    content = folder.latest()
    if content is not None:
        state.load(content)
        notes["start"] = content["notes"].get("start", notes["start"])  # --init may hold others by now
        if leads:
            folder.tell(state.history, content["step_losses"])
        log.info("going on after epoch %d of %s", state.epoch, folder.address)


def _line(metrics: Metrics, num_epochs: int) -> str:
    left_s = metrics["seconds"] * (num_epochs - metrics["epoch"])
    figures = " ".join(f"{name} {value:.4g}" for name, value in metrics.items() if name != "epoch")
    return f"epoch {metrics['epoch']} of {num_epochs}: {figures}; about {left_s / 60:.0f} min left"
