from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

import bench.scenarios.training
from bench.scenarios.training import Steps, fit_on_ray
from tests.fake_cuda import FakeCuda
from train.config import Scale
from train.lesion.config import LesionTraining
from train.lesion.drawn_lesions import draw_lesion_photos


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_side_under_ray_trains_on_the_device_that_is_measured(
    device: str, monkeypatch: pytest.MonkeyPatch
):
    scales: list[Scale] = []
    monkeypatch.setattr(bench.scenarios.training, "ray_cluster", lambda address: nullcontext(True))
    monkeypatch.setattr(bench.scenarios.training, "fit", lambda task, training, scale: scales.append(scale))

    fit_on_ray(LesionTraining(device=device), 2)

    assert scales == [Scale(workers=1, gpu=device == "cuda", cpus_per_worker=2)]


def test_a_turn_ends_when_the_measured_device_has_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
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
    waited: list[Any] = []

    with FakeCuda(num_devices=2):
        monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
        steps = Steps(config)
        assert steps.seconds([steps.random_batch] * 2, bf16=False) > 0

    assert waited == ["cuda:1"]
