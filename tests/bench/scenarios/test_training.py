from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.scenarios import training_under_ray
from bench.scenarios.training import TrainingSteps
from tests.fake_cuda import FakeCuda
from train.config import Scale
from train.lesion.config import LesionTraining
from train.lesion.drawn_lesions import draw_lesion_photos


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_training_under_ray_uses_the_measured_device(device: str, monkeypatch: pytest.MonkeyPatch):
    scales: list[Scale] = []
    monkeypatch.setattr(training_under_ray, "ray_cluster", lambda address: nullcontext(True))
    monkeypatch.setattr(training_under_ray, "fit", lambda task, training, scale: scales.append(scale))

    training_under_ray.fit_on_ray(LesionTraining(device=device), 2)

    assert scales == [Scale(workers=1, gpu=device == "cuda", cpus_per_worker=2)]


def test_two_workers_share_the_threads_and_the_examples_of_one(monkeypatch: pytest.MonkeyPatch):
    runs: list[tuple[int, Scale]] = []
    monkeypatch.setattr(training_under_ray, "ray_cluster", lambda address: nullcontext(True))
    monkeypatch.setattr(
        training_under_ray, "fit", lambda task, training, scale: runs.append((training.batch_size, scale))
    )

    training_under_ray.fit_on_two_workers(LesionTraining(batch_size=32), 2)

    assert runs == [(16, Scale(workers=2, cpus_per_worker=1))]


def test_a_step_time_includes_the_work_of_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    draw_lesion_photos(tmp_path / "photos", tmp_path / "manifest.parquet", num_photos=24)
    config = LesionTraining(
        manifest=str(tmp_path / "manifest.parquet"),
        cache="",
        input_px=32,
        start_px=32,
        batch_size=2,
        val_fraction=0.25,
        device="cuda:1",
    )
    synchronized: list[Any] = []

    with FakeCuda(num_devices=2):
        monkeypatch.setattr(torch.cuda, "synchronize", synchronized.append)
        steps = TrainingSteps(config)
        assert steps.mean_s([steps.random_batch] * 2, bf16=False) > 0

    assert synchronized == ["cuda:1"]
