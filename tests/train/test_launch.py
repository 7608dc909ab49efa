"""Ctrl-C ends a training run wherever it occurs."""

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from train.config import Scale
from train.fit import fit
from train.lesion.config import LesionTraining
from train.lesion.task import LesionTask

DROPPED = """
import os, signal, time
from train.launch import _interrupt

signal.signal(signal.SIGINT, lambda *_: _interrupt("runs/mine", os.getpid()))

class Collected:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)  # the handler's exception is raised here, and dropped

Collected()
time.sleep(60)
"""


@pytest.mark.slow
def test_an_interrupt_dropped_by_python_ends_the_run():
    done = subprocess.run([sys.executable, "-c", DROPPED], capture_output=True, text=True, timeout=50)

    assert "Exception ignored" in done.stderr
    assert "the same command resumes from runs/mine" in done.stderr
    assert done.returncode == 130


def test_the_collective_timeout_reaches_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    given: dict[str, Any] = {}

    class Recorder:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            given.update(kwargs)

        def fit(self) -> SimpleNamespace:
            return SimpleNamespace(return_value="")

    monkeypatch.setattr("ray.train.torch.TorchTrainer", Recorder)
    monkeypatch.setattr("train.fit.check_room", lambda scale, cpus: True)
    monkeypatch.setattr("train.fit.warn_while_unplaced", lambda *args, **kwargs: nullcontext())
    training = LesionTraining(run=str(tmp_path))

    for scale in (Scale(cpus_per_worker=1), Scale(cpus_per_worker=1, collective_timeout_s=90)):
        fit(LesionTask(), training, scale)
        assert given["torch_config"].timeout_s == scale.collective_timeout_s

    assert Scale().collective_timeout_s >= 3600
    with pytest.raises(ValueError, match="collective_timeout_s is 0"):
        Scale(collective_timeout_s=0)
