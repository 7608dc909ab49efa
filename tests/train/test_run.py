"""Training runs in one process without Ray, on synthetic photos of the smallest size."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from models.lesion.shapes import RESNET50
from models.preprocessing import Augmentation
from tests.random_checkpoints import write_lesion, write_progress
from train.data.manifest import read_manifest
from train.data.split import read_split
from train.distributed import DistributedContext, RunStoppedError
from train.lesion.config import LesionTraining
from train.lesion.drawn_lesions import draw_lesion_photos
from train.lesion.task import LesionTask
from train.loop import EpochLosses, train_epoch
from train.run import new_state, run
from train.run_folder import RunFolder

TASK = LesionTask()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> LesionTraining:
    folder = tmp_path_factory.mktemp("training")
    draw_lesion_photos(folder / "photos", folder / "manifest.parquet", num_photos=24)
    return LesionTraining(
        manifest=str(folder / "manifest.parquet"),
        run=str(folder / "run"),
        cache=str(folder / "cache"),
        input_px=32,
        start_px=32,
        num_epochs=2,
        batch_size=8,
        val_fraction=0.25,
        bf16=False,
    )


@pytest.fixture(scope="module")
def finished(config: LesionTraining) -> RunFolder:
    run(TASK, config, DistributedContext())
    return RunFolder(address=config.run)


def test_a_run_leaves_the_training_checkpoint_of_its_last_epoch(finished: RunFolder, config: LesionTraining):
    content = finished.latest_checkpoint()

    assert content is not None
    assert [metrics["epoch"] for metrics in content["history"]] == [1, 2]
    assert content["notes"]["labels"] == ["Nevus", "Vascular Lesion", "Melanoma"]
    assert config.run not in json.dumps(content["settings"])


def test_the_split_of_the_training_is_stored(finished: RunFolder, config: LesionTraining):
    split = read_split(read_manifest(config.manifest), finished.split)

    content = finished.latest_checkpoint()
    assert content is not None
    assert content["settings"]["data_fingerprint"] == split.fingerprint


def test_a_finished_run_is_not_trained_again(finished: RunFolder, config: LesionTraining):
    before = finished.latest_checkpoint()

    run(TASK, config, DistributedContext())

    after = finished.latest_checkpoint()
    assert before is not None and after is not None
    assert after["history"] == before["history"]


class StopError(Exception):
    """Ends a run after its first epoch."""


def _run_an_epoch(config: LesionTraining) -> None:
    def stop(metrics: dict[str, Any]) -> None:
        raise StopError

    with pytest.raises(StopError):
        run(TASK, config, DistributedContext(report=stop))


@pytest.mark.slow
def test_a_resumed_run_keeps_the_description_of_its_initial_weights(config: LesionTraining, tmp_path: Path):
    first = write_lesion(tmp_path / "first", network=RESNET50)
    begun = replace(config, run=str(tmp_path / "run"), init=str(first))
    _run_an_epoch(begun)
    before = RunFolder(address=begun.run).latest_checkpoint()
    meta = json.loads((first / "meta.json").read_text())
    (first / "meta.json").write_text(json.dumps(meta | {"version": "99"}))

    run(TASK, begun, DistributedContext())

    after = RunFolder(address=begun.run).latest_checkpoint()
    assert before is not None and after is not None
    assert after["notes"]["start"] == before["notes"]["start"]
    assert "99" not in after["notes"]["start"].partition("(")[0]


def test_a_run_resumed_at_the_end_of_an_epoch_equals_an_uninterrupted_one(
    finished: RunFolder, config: LesionTraining, tmp_path: Path
):
    stopped = replace(config, run=str(tmp_path / "run"))
    _run_an_epoch(stopped)
    torch.rand(7)

    run(TASK, stopped, DistributedContext())

    whole, resumed = finished.latest_checkpoint(), RunFolder(address=stopped.run).latest_checkpoint()
    assert whole is not None and resumed is not None
    assert [m["train_loss"] for m in resumed["history"]] == [m["train_loss"] for m in whole["history"]]
    for part in ("net", "ema"):
        for name, tensor in whole[part].items():
            assert torch.equal(resumed[part][name], tensor), name


@pytest.mark.slow
def test_a_run_resumes_on_a_processor_without_bfloat16(
    config: LesionTraining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    begun = replace(config, run=str(tmp_path / "run"), bf16=True)
    used: list[bool] = []

    def note(*args: Any, bf16: bool, **kwargs: Any) -> EpochLosses:
        used.append(bf16)
        return train_epoch(*args, bf16=bf16, **kwargs)

    monkeypatch.setattr("train.run.train_epoch", note)
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": True})
    _run_an_epoch(begun)
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_f": True})
    with caplog.at_level("INFO", logger="train"):
        run(TASK, begun, DistributedContext())

    assert used == [True, False]
    assert "computing in float32: cpu has no instructions for bfloat16" in caplog.text


@pytest.mark.slow
def test_bfloat16_changes_losses_less_than_another_seed_does(config: LesionTraining):
    def losses_of(seed: int, *, bf16: bool) -> list[float]:
        torch.manual_seed(seed)
        context = DistributedContext(progress_bar=None)
        some = replace(config, seed=seed, batch_size=4, mix_share=0.0)
        [split] = TASK.split(some, read_manifest(some.manifest))
        setup = TASK.build(some, context, split)
        state = new_state(setup.net, some, steps_per_epoch=len(setup.train_batches), settings={})
        return train_epoch(state, setup.train_batches, setup.train_loss, max_grad_norm=1.0, bf16=bf16).steps

    float32, bfloat16 = (
        torch.tensor([losses_of(seed, bf16=bf16) for seed in range(3)]) for bf16 in (False, True)
    )

    noise = float32.std(dim=0).mean()
    assert not torch.equal(bfloat16, float32)
    assert (bfloat16 - float32).abs().mean() < 0.25 * noise


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 1e-4}, "differs in learning_rate"),
        ({"seed": 9}, "differs in seed"),
        ({"batch_size": 4}, "differs in examples_per_step"),
    ],
)
def test_other_settings_are_rejected_and_the_run_stays_unchanged(
    finished: RunFolder, config: LesionTraining, change: dict[str, Any], message: str
):
    before = {path: path.read_bytes() for path in Path(config.run).rglob("*") if path.is_file()}

    with pytest.raises(RunStoppedError, match=message):
        run(TASK, replace(config, **change), DistributedContext())

    assert {path: path.read_bytes() for path in Path(config.run).rglob("*") if path.is_file()} == before


def test_a_loss_that_is_not_finite_ends_the_run_in_one_message(config: LesionTraining, tmp_path: Path):
    wild = replace(config, run=str(tmp_path / "run"), learning_rate=1e30, warmup_fraction=0.5)

    with pytest.raises(RunStoppedError, match="the gradient is not finite in epoch 1"):
        run(TASK, wild, DistributedContext())


def test_a_run_that_stalls_ends_early(config: LesionTraining, tmp_path: Path):
    slow = replace(
        config,
        run=str(tmp_path / "run"),
        num_epochs=3,
        learning_rate=1e-12,
        freeze_batch_norm=True,  # else its statistics change, and with them the loss
        stop_patience=1,
        keep_checkpoints=0,
    )

    run(TASK, slow, DistributedContext())

    content = RunFolder(address=slow.run).latest_checkpoint()
    assert content is not None
    assert len(content["history"]) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"manifest": "nowhere.parquet"}, r"skinserve ingest"),
        ({"init": "nowhere"}, "--init nowhere: no folder"),
        ({"batch_size": 500}, "fewer than the examples of one step"),
        ({"split": "nowhere.parquet"}, "no split at nowhere.parquet"),
    ],
)
def test_missing_inputs_of_a_run_are_named(
    config: LesionTraining, tmp_path: Path, change: dict[str, Any], message: str
):
    with pytest.raises(RunStoppedError, match=message):
        run(TASK, replace(config, run=str(tmp_path / "run"), **change), DistributedContext())


def test_weights_of_the_other_task_are_rejected(config: LesionTraining, tmp_path: Path):
    folder = write_progress(tmp_path / "progress")

    with pytest.raises(RunStoppedError, match="is a progress checkpoint, this run trains a lesion network"):
        run(TASK, replace(config, run=str(tmp_path / "run"), init=str(folder)), DistributedContext())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda c: replace(c, val_fraction=1.0), "val_fraction is 1.0"),
        (lambda c: replace(c, start_px=200), "start_px is 200"),
        (lambda c: replace(c, num_epochs=0), "must be positive"),
        (lambda c: replace(c, ema_decay=1.0), "ema_decay is 1.0"),
        (lambda c: replace(c, warmup_fraction=1.0), "warmup_fraction is 1.0"),
        (lambda c: replace(c, dropout=2.0), "dropout is 2.0"),
        (lambda c: replace(c, mix_share=-0.1), "mix_share is -0.1"),
        (lambda c: replace(c, val_fraction=0.4), r"val_fraction is 0.4; .* here 0.500"),
        (lambda c: replace(c, cache="s3://bucket/cache"), "must be a folder on each machine's own disk"),
        (lambda c: replace(c, release="best", keep_checkpoints=0), "keep at least one best checkpoint"),
        (lambda c: replace(c, min_sensitivity=1.0), "min_sensitivity is 1.0"),
        (lambda c: replace(c, augmentation=Augmentation(min_scale=0.0)), "min_scale is 0.0"),
    ],
)
def test_invalid_settings_are_rejected(
    config: LesionTraining, make: Callable[[LesionTraining], LesionTraining], message: str
):
    with pytest.raises(ValueError, match=message):
        make(config)
