import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from models.storage import StorageError
from train.loop import RunMismatchError, TrainingState, new_ema
from train.run_folder import RunFolder, best_epochs, stalled


def state_after(*val_losses: float) -> TrainingState:
    net = nn.Linear(2, 1)
    optimizer = AdamW(net.parameters(), lr=0.1)
    state = TrainingState(
        net=net,
        optimizer=optimizer,
        schedule=OneCycleLR(optimizer, max_lr=0.1, total_steps=9),
        ema=new_ema(net, 0.9),
        settings={"seed": 1},
    )
    for epoch, val_loss in enumerate(val_losses, start=1):
        state.end_epoch({"epoch": epoch, "train_loss": 1.0, "val_loss": val_loss, "seconds": 0.1})
    return state


def save_all(folder: RunFolder, *val_losses: float) -> None:
    for epoch in range(1, len(val_losses) + 1):
        folder.save(state_after(*val_losses[:epoch]), {"kind": "lesion"}, [0.5, 0.4])


def test_the_last_and_the_best_checkpoints_are_kept(tmp_path: Path):
    folder = RunFolder(address=str(tmp_path), keep_checkpoints=2)

    save_all(folder, 0.9, 0.5, 0.7, 0.6, 0.8)

    assert folder.epochs() == [2, 4, 5]
    latest = folder.latest_checkpoint()
    assert latest is not None
    assert len(latest["history"]) == 5
    assert latest["notes"] == {"kind": "lesion"}
    assert latest["net"]["weight"].dtype == torch.float32


def test_every_epoch_is_logged_once_after_a_restart(tmp_path: Path):
    folder = RunFolder(address=str(tmp_path))
    save_all(folder, 0.9, 0.5)

    save_all(folder, 0.9, 0.5, 0.7)  # a worker died after the second epoch and both came again

    epochs = [json.loads(line)["epoch"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert epochs == [1, 2, 3]


def test_logs_missing_after_a_stop_are_written_once(tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = RunFolder(address=str(tmp_path))
    save_all(folder, 0.9, 0.5)
    for path in (tmp_path / "tensorboard").glob("*.0002"):
        path.unlink()

    for _ in range(2):
        folder.write_log(state_after(0.9, 0.5).history, [0.5, 0.4])

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert sorted(event.step for event in events.Scalars("step_loss")) == [0, 1, 2, 3]


def test_a_damaged_checkpoint_is_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    folder = RunFolder(address=str(tmp_path))
    save_all(folder, 0.9, 0.5)
    path = tmp_path / "states" / "epoch-0002.pt"
    path.write_bytes(path.read_bytes()[:500])

    latest = folder.latest_checkpoint()

    assert latest is not None
    assert len(latest["history"]) == 1
    assert "epoch 2 is damaged" in caplog.text


def test_a_checkpoint_with_code_is_neither_run_nor_overwritten(tmp_path: Path):
    folder = RunFolder(address=str(tmp_path))
    (tmp_path / "states").mkdir()
    torch.save({"history": [], "net": print}, tmp_path / "states" / "epoch-0001.pt")

    with pytest.raises(RunMismatchError, match=r"all training checkpoints in .* are damaged"):
        folder.latest_checkpoint()


def test_a_checkpoint_behind_a_storage_error_is_not_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = RunFolder(address=str(tmp_path))
    save_all(folder, 0.9, 0.5)

    def fail(address: str) -> bytes:
        raise StorageError("the bucket answered 503 8 times")

    monkeypatch.setattr("train.run_folder.read_bytes", fail)
    with pytest.raises(StorageError, match="503"):
        folder.latest_checkpoint()


def test_later_checkpoints_are_never_removed(tmp_path: Path):
    folder = RunFolder(address=str(tmp_path), keep_checkpoints=0)
    save_all(folder, 0.9, 0.5, 0.4)

    folder.save(state_after(0.9), {}, [])

    assert folder.epochs() == [1, 3]


def test_a_full_disk_leaves_earlier_checkpoints_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = RunFolder(address=str(tmp_path))
    save_all(folder, 0.9)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="no space is left"):
        folder.save(state_after(0.9, 0.5), {}, [])

    assert folder.epochs() == [1]


def test_the_losses_are_in_tensorboard(tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    save_all(RunFolder(address=str(tmp_path)), 0.9, 0.5)

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [round(event.value, 3) for event in events.Scalars("val_loss")] == [0.9, 0.5]
    assert [event.step for event in events.Scalars("step_loss")] == [0, 1, 2, 3]


def test_the_best_epochs_come_first():
    history = state_after(0.9, 0.5, 0.7).history

    assert best_epochs(history) == [2, 3, 1]
    assert not stalled(history, 2)
    assert stalled(history, 1)
    assert not stalled(history, 0)
