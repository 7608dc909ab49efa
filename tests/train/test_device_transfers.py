"""Count copies and waits of training steps on a GPU; the limits may only be lowered."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.progress.network import ProgressNet
from tests.fake_cuda import FakeCuda
from train.config import Training
from train.data.manifest import read_manifest
from train.distributed import DistributedContext
from train.lesion.config import LesionTraining
from train.lesion.drawn_lesions import draw_lesion_photos
from train.lesion.task import LesionTask
from train.loop import EpochLosses, TrainingState, evaluate, train_epoch
from train.progress.config import ProgressTraining
from train.progress.loss import batch_loss
from train.progress.series import Series
from train.progress.series_batches import LabelledSeriesBatches
from train.progress.synthetic.generation import in_batches
from train.run import new_state
from train.task import TaskSetup

COPIES_IN_PER_STEP = 1
"""Photos, targets and random numbers, in one transfer from pinned memory."""
WAITS_PER_EPOCH = 2
"""Of an epoch of up to CHECK_EVERY steps: checks of the gradient after the first and the last step."""
COPIES_OUT_PER_EPOCH = 1
"""The losses of all steps."""

Run = tuple[TaskSetup, TrainingState]


def state_of(setup: TaskSetup, config: Training) -> TrainingState:
    return new_state(setup.net, config, steps_per_epoch=len(setup.train_batches), settings={})


@pytest.fixture
def prepare_lesion(tmp_path: Path) -> Callable[[str], Run]:
    draw_lesion_photos(tmp_path / "photos", tmp_path / "manifest.parquet", num_photos=32)
    config = LesionTraining(
        manifest=str(tmp_path / "manifest.parquet"),
        cache="",
        input_px=32,
        start_px=32,
        batch_size=8,
        val_fraction=0.25,
        balance_by="loss",
    )

    def prepare(device: str) -> Run:
        torch.manual_seed(0)
        context = DistributedContext(device=device, progress_bar=None)
        [split] = LesionTask().split(config, read_manifest(config.manifest))
        setup = LesionTask().build(config, context, split)
        return setup, state_of(setup, config)

    return prepare


def prepare_progress(device: str) -> Run:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    series = [
        Series(
            photos_THWC=rng.integers(0, 256, (num_photos, 40, 40, 3), dtype=np.uint8),
            present_T=np.arange(num_photos) != 2,
            improvement_T=np.full(num_photos, 1, np.float32),
            person="anna",
        )
        for num_photos in (3, 5, 4, 2, 3, 4)
    ]
    config = ProgressTraining(input_px=40, batch_size=4, bf16=True, num_epochs=2)
    context = DistributedContext(device=device, progress_bar=None)
    setup = TaskSetup(
        net=ProgressNet(input_px=40).to(device),
        train_batches=LabelledSeriesBatches(series, config, context),
        val_batches=lambda: in_batches(series, replace(config, device=device)),
        train_loss=partial(batch_loss, last_photo_weight=0.5),
        val_loss=batch_loss,
        architecture={},
        initialization="random weights",
        data_fingerprint="",
    )
    return setup, state_of(setup, config)


def train(run: Run) -> EpochLosses:
    setup, state = run
    torch.manual_seed(1)
    return train_epoch(state, setup.train_batches, setup.train_loss, max_grad_norm=1.0, bf16=True)


def validate(run: Run) -> float:
    setup, state = run
    return evaluate(state.ema, setup.val_batches(), setup.val_loss, bf16=True)


@pytest.mark.parametrize("network", [pytest.param("lesion", marks=pytest.mark.slow), "progress"])
def test_a_step_copies_once_and_waits_only_to_check_the_gradient(network: str, prepare_lesion: Any):
    prepare = prepare_lesion if network == "lesion" else prepare_progress
    run_on_cpu = prepare("cpu")
    expected = validate(run_on_cpu), train(run_on_cpu)

    with FakeCuda() as cuda:
        run = prepare("cuda:0")
        val_loss = validate(run)  # also copies what is copied once for a process
        cuda.events.clear()
        found = val_loss, train(run)

        copies_in = [event for event in cuda.events if event.kind == "in"]
        num_steps = len(run[0].train_batches)
        assert num_steps >= 3
        assert len(copies_in) <= COPIES_IN_PER_STEP * num_steps, cuda.summary()
        assert not any(event.blocking for event in copies_in), cuda.summary()
        assert cuda.count("wait") <= WAITS_PER_EPOCH, cuda.summary()
        assert cuda.count("out") <= COPIES_OUT_PER_EPOCH, cuda.summary()
        weights = {name: tensor.cpu() for name, tensor in run[1].ema.state_dict().items()}

    assert found == expected
    for name, tensor in run_on_cpu[1].ema.state_dict().items():
        assert torch.equal(weights[name], tensor), name


@pytest.mark.parametrize("network", ["lesion", "progress"])
def test_validation_copies_each_batch_once_and_the_sum_of_its_losses_back(network: str, prepare_lesion: Any):
    prepare = prepare_lesion if network == "lesion" else prepare_progress

    with FakeCuda() as cuda:
        run = prepare("cuda:0")
        validate(run)
        cuda.events.clear()
        validate(run)

        num_batches = sum(1 for _ in run[0].val_batches())
        counted = cuda.events[:-num_batches]
        assert [event.kind for event in counted] == ["in"] * num_batches + ["out"]
        assert not any(event.blocking for event in counted[:-1]), cuda.summary()
