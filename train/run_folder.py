"""The folder of a run, local or on S3: states, log, TensorBoard, split and released checkpoint."""

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
from train.loop import Metrics, OtherRunError, TrainingState

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """Where one network's run keeps what must survive; only the worker that leads writes it."""

    address: str
    keep_states: int = 2
    """States of the best epochs that are kept beside the last one."""

    @property
    def checkpoint(self) -> str:
        """Address of the released checkpoint."""
        return join(self.address, "checkpoint")

    @property
    def split(self) -> str:
        """Address of the stored split."""
        return join(self.address, "split.parquet")

    def save(self, state: TrainingState, notes: dict[str, Any], step_losses: list[float]) -> None:
        """Write the state of the last epoch, then what is told about it, then forget states no longer needed.

        A crash in between leaves the states before as they were; the log follows from the state.

        Args:
            notes: text and numbers stored beside the state, for whoever releases it.
            step_losses: of the steps of the last epoch, for TensorBoard.

        Raises:
            StorageError: there is no room, or the folder cannot be written.
        """
        buffer = io.BytesIO()
        torch.save(state.content() | {"notes": notes, "step_losses": step_losses}, buffer)
        write_bytes(self._state(state.epoch), buffer.getvalue())
        self.tell(state.history, step_losses)
        kept = {state.epoch, *best_epochs(state.history)[: self.keep_states]}
        for epoch in self.epochs():
            if epoch < state.epoch and epoch not in kept:
                delete(self._state(epoch))

    def tell(self, history: list[Metrics], step_losses: list[float]) -> None:
        """Write log and TensorBoard of what a state holds; again after a stop between the state and these."""
        lines = [json.dumps(metrics) for metrics in history]
        write_bytes(join(self.address, "log.jsonl"), ("\n".join(lines) + "\n").encode())
        name = f".{len(history):04d}"
        if not any(file.endswith(name) for file in list_files(join(self.address, "tensorboard"))):
            self._write_tensorboard(history, step_losses, name)

    def epochs(self) -> list[int]:
        """Return the epochs whose states are there, in order."""
        names = [Path(address).name for address in list_files(join(self.address, "states"))]
        return sorted(int(name[6:-3]) for name in names if name.startswith("epoch-") and name.endswith(".pt"))

    def latest(self) -> dict[str, Any] | None:
        """Return the state of the last epoch, or of the one before if that is damaged; None at first.

        Raises:
            StorageError: a state cannot be read just now; starting anew instead would lose it.
            OtherRunError: there are states, and all are damaged.
        """
        epochs = self.epochs()
        for epoch in reversed(epochs):
            try:
                return self.state(epoch)
            except StorageError:
                raise
            except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
                log.warning("the state of epoch %d is damaged and passed over: %s", epoch, error)
        if epochs:
            raise OtherRunError(
                f"all states in {self.address} are damaged; name another folder with --run to start anew"
            )
        return None

    def state(self, epoch: int) -> dict[str, Any]:
        """Return the state after ``epoch``; tensors, numbers and text only, nothing that can run."""
        return torch.load(io.BytesIO(read_bytes(self._state(epoch))), map_location="cpu", weights_only=True)

    def _state(self, epoch: int) -> str:
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
    """Return the epochs, counted from 1, lowest validation loss first."""
    return sorted(range(1, len(history) + 1), key=lambda epoch: history[epoch - 1]["val_loss"])


def stalled(history: list[Metrics], patience: int) -> bool:
    """Whether the validation loss has not become better for ``patience`` epochs; never if that is 0."""
    return bool(patience) and bool(history) and len(history) - best_epochs(history)[0] >= patience
