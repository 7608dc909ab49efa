"""Training on Ray from photos to a served checkpoint: two workers, a run on S3, Ctrl-C."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from models import storage
from models.images import decode_square
from models.lesion.engine_loader import load_lesion_engine
from tests.local_bucket import new_bucket, s3_server
from train.config import Job, Scale
from train.distributed import DistributedContext
from train.launch import launch
from train.lesion.config import LesionTraining
from train.lesion.drawn_lesions import draw_lesion_photos
from train.lesion.task import LesionTask
from train.run import run
from train.run_folder import RunFolder

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]
DEAD_PROXY = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY"), "http://127.0.0.1:9")
DEAD_PROXY |= {"no_proxy": "", "NO_PROXY": ""}
"""A proxy of a company that Ray's own connections must not take."""
ENVIRONMENT = os.environ | DEAD_PROXY | {"OMP_NUM_THREADS": "1"}
NUM_EPOCHS = 3
"""Of the run that Ctrl-C stops: one before it, two that resume."""


@pytest.fixture(autouse=True)
def default_sigint() -> Iterator[None]:
    """Let child processes handle Ctrl-C even if pytest ignores it, as a background job of a script does."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server(), new_bucket("training") as address:
        yield address


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> LesionTraining:
    """Return settings without randomness but the order, so that two workers equal one."""
    folder = tmp_path_factory.mktemp("training")
    draw_lesion_photos(folder / "photos", folder / "manifest.parquet", num_photos=54)
    return LesionTraining(
        manifest=str(folder / "manifest.parquet"),
        run=str(folder / "single"),
        cache=str(folder / "cache"),
        input_px=32,
        start_px=32,
        num_epochs=2,
        batch_size=8,
        learning_rate=1e-4,
        val_fraction=0.25,
        dropout=0.0,
        mix_share=0.0,
        augment=False,
        freeze_batch_norm=True,
        keep_checkpoints=0,
        bf16=False,
    )


def step_losses(folder: Path) -> list[float]:
    events = EventAccumulator(str(folder)).Reload().Scalars("step_loss")
    return [event.value for event in sorted(events, key=lambda event: event.step)]


def kill_a_worker_in_its_second_epoch(address: str, killed: list[int]) -> None:
    folder = RunFolder(address=address)
    while not folder.epochs():
        time.sleep(0.1)
    time.sleep(0.5)  # into the second epoch, which takes longer
    workers = [p for p in psutil.Process().children(recursive=True) if "RayTrainWorker" in p.name()]
    workers[-1].send_signal(signal.SIGKILL)
    killed.append(workers[-1].pid)


@pytest.mark.slow
def test_two_workers_with_one_killed_reach_the_losses_of_one_worker(
    bucket: str, fixed: LesionTraining, tmp_path: Path
):
    run(LesionTask(), fixed, DistributedContext())
    pair = replace(fixed, run=f"{bucket}/runs/pair", batch_size=4)
    killed: list[int] = []
    killer = threading.Thread(target=kill_a_worker_in_its_second_epoch, args=(pair.run, killed), daemon=True)
    killer.start()

    address = launch(Job(training=pair, scale=Scale(workers=2, cpus_per_worker=1)))

    single = step_losses(Path(fixed.run, "tensorboard"))
    together = step_losses(storage.fetch_folder(f"{pair.run}/tensorboard", tmp_path))
    assert killed
    assert len(single) == 10
    assert together == pytest.approx(single, abs=1e-3)
    log = storage.read_bytes(f"{pair.run}/log.jsonl").decode().splitlines()
    assert len(log) == pair.num_epochs
    engine = load_lesion_engine(storage.fetch_folder(address, tmp_path))
    photo = decode_square(
        Path(fixed.manifest).parent.joinpath("photos/lesion-00001.jpg").read_bytes(), side_px=32
    )
    assert np.isclose(engine(photo.image_HWC[None]).diagnosis_BK.sum(), 1)


@pytest.fixture
def resumable(fixed: LesionTraining, tmp_path: Path) -> dict[str, str]:
    """Return the options of a run that Ctrl-C stops and the same command resumes."""
    return {
        "manifest": fixed.manifest,
        "run": str(tmp_path / "run"),
        "cache": fixed.cache,
        "input-px": "32",
        "start-px": "32",
        "num-epochs": str(NUM_EPOCHS),
        "keep-checkpoints": "0",
        "batch-size": "8",
        "val-fraction": "0.25",
        "cpus-per-worker": "1",
    }


def command_of(options: dict[str, str]) -> list[str]:
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return [sys.executable, "-m", "train.launch", "lesion", *words]


def check_ctrl_c_after_an_epoch(options: dict[str, str]) -> None:
    """Stop a run as soon as it has an epoch; check that it ends in one line and keeps the epoch."""
    first = subprocess.Popen(
        command_of(options),
        cwd=ROOT,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    folder = RunFolder(address=options["run"])
    while not folder.epochs() and first.poll() is None:
        time.sleep(0.1)

    os.killpg(first.pid, signal.SIGINT)  # as a terminal does
    _, output = first.communicate(timeout=120)

    assert first.returncode == 130, output
    assert "the same command resumes from" in output
    assert "Traceback" not in output
    assert 1 <= folder.epochs()[-1] < NUM_EPOCHS


@pytest.mark.slow
def test_ctrl_c_ends_a_run_on_ray_and_keeps_its_epochs(resumable: dict[str, str]):
    check_ctrl_c_after_an_epoch({**resumable, "workers": "1"})


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "1"])
def test_ctrl_c_loses_one_epoch_at_most_and_the_same_command_resumes(resumable: dict[str, str], workers: str):
    options = {**resumable, "workers": workers}
    check_ctrl_c_after_an_epoch(options)

    again = subprocess.run(
        command_of(options), cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=600
    )

    assert again.returncode == 0, again.stderr
    assert "resuming after epoch" in again.stdout + again.stderr
    assert load_lesion_engine(Path(options["run"], "checkpoint")).meta.name == "lesion-reference"
