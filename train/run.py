"""Run one training process, from the manifest to the training checkpoint of the last epoch."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau

from train.config import Training, stored_settings
from train.data.manifest import Row, read_manifest
from train.data.split import Split, read_split, write_split
from train.distributed import DistributedContext
from train.loop import (
    EpochLosses,
    Metrics,
    TrainingState,
    computes_bf16,
    evaluate,
    new_ema,
    train_epoch,
)
from train.run_folder import RunFolder, stalled
from train.task import Task, TaskSetup

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Run:
    config: Training
    context: DistributedContext
    folder: RunFolder
    setup: TaskSetup
    state: TrainingState
    notes: dict[str, Any]
    """Stored in every training checkpoint for the release."""


def run(
    task: Task[Any], config: Training, context: DistributedContext, rows: Sequence[Row] | None = None
) -> None:
    """Train one network, or resume; every epoch ends with a training checkpoint in the run folder.

    Args:
        rows: of the manifest, where it has been read already.

    Raises:
        RunStoppedError: the run cannot start or continue; the message is the same on every worker.
    """
    folder = RunFolder(address=config.run, keep_checkpoints=config.keep_checkpoints)
    torch.manual_seed(config.seed)
    if rows is None:
        rows = context.run_on_all_ranks(lambda: read_manifest(config.manifest))
    split = _split_on_all_ranks(task, config, context, rows, folder)
    setup = context.run_on_all_ranks(lambda: task.build(config, context, split))
    context.assert_equal_across_ranks("the readable photos", setup.data_fingerprint)
    net = context.prepare_model(setup.net)
    settings = _settings_of(config, context, split)
    state = new_state(net, config, steps_per_epoch=len(setup.train_batches), settings=settings)
    this = _Run(
        config=config,
        context=context,
        folder=folder,
        setup=setup,
        state=state,
        notes=_notes_of(task, config, setup),
    )
    context.run_on_all_ranks(lambda: _resume(this))
    context.assert_equal_across_ranks("the epoch to resume from", state.epoch)
    if config.bf16 and not computes_bf16(context.device):
        log.info("computing in float32: %s has no instructions for bfloat16", context.device)

    while state.epoch < config.num_epochs and not stalled(state.history, config.stop_patience):
        _run_epoch(this)


def new_state(
    net: nn.Module, config: Training, *, steps_per_epoch: int, settings: Mapping[str, Any]
) -> TrainingState:
    """Return the state before the first step: AdamW without weight decay on vectors, and the schedule."""
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
            pct_start=max(config.warmup_fraction, 2 / num_steps),  # a warm-up of one step divides by zero
            cycle_momentum=False,
        )
    return TrainingState(
        net=net,
        optimizer=optimizer,
        schedule=schedule,
        ema=new_ema(net, config.ema_decay),
        settings=dict(settings),
    )


def _run_epoch(this: _Run) -> None:
    config, context, state = this.config, this.context, this.state
    started = time.monotonic()
    this.setup.train_batches.epoch = state.epoch
    torch.manual_seed(context.epoch_seed(config.seed, state.epoch, shared=False))  # dropout
    losses, val_loss = context.run_on_all_ranks(lambda: _train_and_validate(this))
    metrics = {
        "epoch": state.epoch + 1,
        "train_loss": losses.mean,
        "val_loss": val_loss,
        "learning_rate": state.optimizer.param_groups[0]["lr"],
        "seconds": round(time.monotonic() - started, 1),
    }
    state.end_epoch(metrics)
    if context.is_main_process:
        log.info(_epoch_line(metrics, config.num_epochs))
    context.run_on_all_ranks(lambda: _save(this, losses.steps))
    context.report(metrics)


def _train_and_validate(this: _Run) -> tuple[EpochLosses, float]:
    config, context, setup, state = this.config, this.context, this.setup, this.state
    bf16 = config.bf16 and computes_bf16(context.device)
    losses = train_epoch(
        state,
        context.with_progress(setup.train_batches, f"epoch {state.epoch + 1} of {config.num_epochs}"),
        setup.train_loss,
        max_grad_norm=config.max_grad_norm,
        bf16=bf16,
        freeze_batch_norm=config.freeze_batch_norm,
    )
    return losses, evaluate(state.ema, setup.val_batches(), setup.val_loss, bf16=bf16)


def _save(this: _Run, step_losses: list[float]) -> None:
    if this.context.is_main_process:
        this.folder.save(this.state, this.notes, step_losses)


def _resume(this: _Run) -> None:
    content = this.folder.latest_checkpoint()
    if content is None:
        return
    this.state.load_state_dict(content)
    start = content["notes"].get("start")  # --init may name other weights by now
    if start:
        this.notes["start"] = start
    if this.context.is_main_process:
        this.folder.write_log(this.state.history, content["step_losses"])
    log.info("resuming after epoch %d of %s", this.state.epoch, this.folder.address)


def _split_on_all_ranks(
    task: Task[Any],
    config: Training,
    context: DistributedContext,
    rows: Sequence[Row],
    folder: RunFolder,
) -> Split:
    """Split in the main process; the other processes read the stored split."""
    split = context.run_on_all_ranks(
        lambda: _split_and_store(task, config, rows, folder) if context.is_main_process else None
    )
    return context.run_on_all_ranks(lambda: split or read_split(rows, folder.split))


def _split_and_store(task: Task[Any], config: Training, rows: Sequence[Row], folder: RunFolder) -> Split:
    """Split and store for a new run; read the stored split of a resumed run.

    Settings for another split are rejected later, with the stored one unchanged.
    """
    has_begun = bool(folder.epochs())
    if has_begun and not config.split:
        return read_split(rows, folder.split)
    split = read_split(rows, config.split) if config.split else task.split(config, rows)[0]
    if not has_begun:
        write_split(split, folder.split)
    return split


def _settings_of(config: Training, context: DistributedContext, split: Split) -> dict[str, Any]:
    """Return the settings that identify a run.

    They hold the examples of a whole step: 4 workers x 16 examples can resume 1 worker x 64.
    """
    settings = stored_settings(config)
    examples_per_step = settings.pop("batch_size") * context.world_size
    return settings | {"examples_per_step": examples_per_step, "data_fingerprint": split.fingerprint}


def _notes_of(task: Task[Any], config: Training, setup: TaskSetup) -> dict[str, Any]:
    """Return the notes that a release needs besides settings and weights."""
    paths = {name: getattr(config, name) for name in config.PATHS if name not in ("run", "split")}
    return {
        "kind": task.name,
        "batch_size": config.batch_size,
        **paths,
        "architecture": dict(setup.architecture),
        "start": setup.initialization,
        "labels": list(setup.labels),
    }


def _epoch_line(metrics: Metrics, num_epochs: int) -> str:
    remaining_s = metrics["seconds"] * (num_epochs - metrics["epoch"])
    values = " ".join(f"{name} {value:.4g}" for name, value in metrics.items() if name != "epoch")
    return f"epoch {metrics['epoch']} of {num_epochs}: {values}; about {remaining_s / 60:.0f} min left"
