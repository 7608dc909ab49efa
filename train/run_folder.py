"""The folder of a run, local or on S3: training checkpoints, log, TensorBoard, split, model artifact."""

import io
import json
import logging
import pickle
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models.storage import (
    StorageError,
    delete,
    is_remote,
    join,
    list_files,
    read_bytes,
    upload_folder,
    write_bytes,
)
from train.loop import Metrics, RunMismatchError, TrainingState

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """Reads and writes the folder of one run; only the main process writes."""

    address: str
    keep_checkpoints: int = 2
    """Training checkpoints of the best epochs to keep beside the last."""

    @property
    def artifact(self) -> str:
        """Address of the model artifact: the released checkpoint."""
        return join(self.address, "checkpoint")

    @property
    def split(self) -> str:
        """Address of the stored split."""
        return join(self.address, "split.parquet")

    def save(self, state: TrainingState, notes: dict[str, Any], step_losses: list[float]) -> None:
        """Write the training checkpoint of the last epoch and the logs; delete outdated checkpoints.

        A crash in between leaves earlier checkpoints intact; the logs can be rebuilt from a checkpoint.

        Args:
            notes: text and numbers that a release needs.
            step_losses: of the steps of the last epoch, for TensorBoard.

        Raises:
            StorageError: the disk is full, or the folder cannot be written.
        """
        buffer = io.BytesIO()
        torch.save(state.state_dict() | {"notes": notes, "step_losses": step_losses}, buffer)
        write_bytes(self._checkpoint(state.epoch), buffer.getvalue())
        self.write_log(state.history, step_losses)
        kept = {state.epoch, *best_epochs(state.history)[: self.keep_checkpoints]}
        for epoch in self.epochs():
            if epoch < state.epoch and epoch not in kept:
                delete(self._checkpoint(epoch))

    def write_log(self, history: list[Metrics], step_losses: list[float]) -> None:
        """Write the log, and the TensorBoard files unless a stopped run has written them."""
        lines = [json.dumps(metrics) for metrics in history]
        write_bytes(join(self.address, "log.jsonl"), ("\n".join(lines) + "\n").encode())
        name = f".{len(history):04d}"
        if not any(file.endswith(name) for file in list_files(join(self.address, "tensorboard"))):
            self._write_tensorboard(history, step_losses, name)

    def epochs(self) -> list[int]:
        """Return the epochs that have a training checkpoint, in order."""
        names = [Path(address).name for address in list_files(join(self.address, "states"))]
        return sorted(int(name[6:-3]) for name in names if name.startswith("epoch-") and name.endswith(".pt"))

    def latest_checkpoint(self) -> dict[str, Any] | None:
        """Return the last undamaged training checkpoint; None if the run has none.

        Raises:
            StorageError: a checkpoint cannot be read at the moment; a new start would overwrite it.
            RunMismatchError: all checkpoints are damaged.
        """
        epochs = self.epochs()
        for epoch in reversed(epochs):
            try:
                return self.load_checkpoint(epoch)
            except StorageError:
                raise
            except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
                log.warning("the training checkpoint of epoch %d is damaged and skipped: %s", epoch, error)
        if epochs:
            raise RunMismatchError(
                f"all training checkpoints in {self.address} are damaged; name another folder with --run"
            )
        return None

    def load_checkpoint(self, epoch: int) -> dict[str, Any]:
        """Return the training checkpoint of ``epoch``; loading it runs no code from the file."""
        content = io.BytesIO(read_bytes(self._checkpoint(epoch)))
        return torch.load(content, map_location="cpu", weights_only=True)

    def _checkpoint(self, epoch: int) -> str:
        return join(self.address, f"states/epoch-{epoch:04d}.pt")

    def _write_tensorboard(self, history: list[Metrics], step_losses: list[float], name: str) -> None:
        from torch.utils.tensorboard import SummaryWriter

        with tempfile.TemporaryDirectory() as scratch:
            local = Path(scratch) if is_remote(self.address) else Path(self.address, "tensorboard")
            epoch = len(history)
            first_step = (epoch - 1) * len(step_losses)
            with SummaryWriter(str(local), filename_suffix=name) as writer:
                for step, loss in enumerate(step_losses, start=first_step):
                    writer.add_scalar("step_loss", loss, step)
                for name, value in history[-1].items():
                    if name != "epoch":
                        writer.add_scalar(name, value, epoch)
            if is_remote(self.address):
                upload_folder(local, join(self.address, "tensorboard"))


def best_epochs(history: list[Metrics]) -> list[int]:
    """Return the epochs, counted from 1, in order of their validation loss."""
    return sorted(range(1, len(history) + 1), key=lambda epoch: history[epoch - 1]["val_loss"])


def stalled(history: list[Metrics], patience: int) -> bool:
    """Check whether the validation loss has not improved for ``patience`` epochs; 0: never stalled."""
    return bool(patience) and bool(history) and len(history) - best_epochs(history)[0] >= patience
