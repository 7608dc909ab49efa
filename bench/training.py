"""What surrounds a training step costs: ``python -m bench.training pipeline``, ``ray`` or ``data``.

pipeline: steps on photos (gathered, augmented, mixed, normalised) against the same steps on random tensors.
ray: epochs under Ray Train with one worker against the same loop without Ray, with the same threads.
data: an epoch of uint8 batches from our cache of decoded photos against Ray Data, decoding every time.
Both sides take turns in one run, so that what else the machine does touches both alike.
"""

import contextlib
import json
import multiprocessing
import os
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import psutil
import torch
import tyro

from models.images import decode_square
from models.storage import read_bytes
from train.cluster import ray_cluster
from train.config import LesionTraining, Scale
from train.data import LesionPhotos, class_names
from train.drawn_spots import draw_spots
from train.launch import fit
from train.lessons import lesion_lesson
from train.loop import Batch, train_epoch
from train.manifest import read_manifest
from train.team import Team
from train.worker import new_state, split_for

TURN_S = 2
"""Of a side (ray); the machine's speed changes from minute to minute."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Measure what surrounds a training step."""

    what: Annotated[Literal["pipeline", "ray", "data"], tyro.conf.Positional]
    manifest: str = ""
    """Photos to train on; without one, 480 pictures are drawn."""
    side_px: int = 96
    batch_size: int = 32
    rounds: int = 6
    """Turns that each side takes; of ray, epochs."""
    steps: int = 6
    """Steps of a turn (pipeline)."""
    device: str = "cpu"
    threads: int = 0
    """Of each side (ray); 0 takes every core, which Ray's own processes then share."""


def main() -> None:
    """Measure what the command line names and print one line of JSON."""
    settings = tyro.cli(Measurement)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        manifest = settings.manifest
        if not manifest:
            manifest = str(folder / "manifest.parquet")
            draw_spots(folder / "photos", Path(manifest), num_photos=480, size_px=224)
        config = LesionTraining(
            manifest=os.path.abspath(manifest),
            run=str(folder / "run"),
            cache=str(folder / "cache"),
            input_px=settings.side_px,
            start_px=settings.side_px,
            batch_size=settings.batch_size,
            num_epochs=1000,
            device=settings.device,
        )
        measure = {"pipeline": pipeline, "ray": under_ray, "data": decoding}[settings.what]
        print(json.dumps({"what": settings.what, **measure(config, settings)}))


def pipeline(config: LesionTraining, settings: Measurement) -> dict[str, float]:
    """Return the median seconds of a step on photos and on random tensors, and the ratio of their rates."""
    team = Team(device=config.device)
    split = split_for(config, read_manifest(config.manifest))
    lesson = lesion_lesson(config, team, split)
    state = new_state(lesson.net, config, team, lesson)
    image = torch.rand(config.batch_size, 3, config.input_px, config.input_px)
    made = {
        "image": image.contiguous(memory_format=torch.channels_last).to(config.device),
        "risk": torch.eye(2)[[0] * config.batch_size].to(config.device),
        "diagnosis": torch.eye(lesson.notes["architecture"]["num_diagnoses"])[[0] * config.batch_size].to(
            config.device
        ),
    }
    photos = _endless(lesson.batches)

    def seconds(batches: Iterable[Batch]) -> float:
        started = time.perf_counter()
        train_epoch(state, batches, lesson.loss_of, max_grad_norm=1.0, bf16=config.bf16)
        if config.device.startswith("cuda"):
            torch.cuda.synchronize()
        return (time.perf_counter() - started) / settings.steps

    seconds([made] * settings.steps)  # warm
    turns = [
        (seconds([made] * settings.steps), seconds(next(photos) for _ in range(settings.steps)))
        for _ in range(settings.rounds)
    ]
    return _ratio("random_step_s", [turn[0] for turn in turns], "photo_step_s", [turn[1] for turn in turns])


def under_ray(config: LesionTraining, settings: Measurement) -> dict[str, float]:
    """Return the median seconds of an epoch without Ray and with one worker, and the ratio of their rates.

    Both trainings live at once and take turns of ``TURN_S``: the other, with all of Ray's processes when it
    is Ray's, is stopped by signals meanwhile. An epoch takes what it took in its own turns.
    """
    num_epochs = settings.rounds + 3  # the first warms up, and no side may end while the other goes on
    plain, on_ray = (replace(config, run=f"{config.run}-{name}", num_epochs=num_epochs) for name in "pr")
    threads = settings.threads or torch.get_num_threads()
    os.environ["OMP_NUM_THREADS"] = str(threads)  # for the process alone; Ray sets it for its worker
    context = multiprocessing.get_context("spawn")
    alone = context.Process(target=fit, args=(plain, Scale(workers=0)), daemon=True)
    with ray_cluster("local"):
        worker = threading.Thread(
            target=fit, args=(on_ray, Scale(workers=1, cpus_per_worker=threads)), daemon=True
        )
        worker.start()
        _wait_for_epoch(on_ray.run, 1)
        sides = Side(on_ray.run, psutil.Process().children(recursive=True)), Side(plain.run, [])
        _signal(sides[0].processes, signal.SIGSTOP)
        alone.start()
        _wait_for_epoch(plain.run, 1)
        sides[1].processes.append(psutil.Process(alone.pid))
        _signal(sides[1].processes, signal.SIGSTOP)
        while all(len(side.epochs_s) <= settings.rounds for side in sides):
            for side in sides:
                _take_turn(side)
        alone.kill()
        _signal(sides[0].processes, signal.SIGCONT)
        worker.join()
    on_ray_s, plain_s = (side.epochs_s[1:] for side in sides)  # of the first, a part went by before
    both = min(len(on_ray_s), len(plain_s))
    return _ratio("plain_epoch_s", plain_s[:both], "ray_epoch_s", on_ray_s[:both])


@dataclass
class Side:
    """One of two trainings that take turns."""

    run: str
    processes: list[psutil.Process]
    num_before: int = 1
    """Epochs that were over before the first turn."""
    epochs_s: list[float] = field(default_factory=list)
    """What each epoch since then took of the side's own turns."""
    since_s: float = 0.0
    """What the epoch that goes on has taken so far."""


def _take_turn(side: Side) -> None:
    _signal(side.processes, signal.SIGCONT)
    started = before = time.perf_counter()
    while before < started + TURN_S:
        time.sleep(0.01)
        now = time.perf_counter()
        side.since_s, before = side.since_s + now - before, now
        if _num_epochs(side.run) > side.num_before + len(side.epochs_s):
            side.epochs_s.append(side.since_s)
            side.since_s = 0.0
    _signal(side.processes, signal.SIGSTOP)


def _wait_for_epoch(run: str, epoch: int) -> None:
    """Wait until ``epoch``, counted from 1, is in the run's log."""
    deadline = time.monotonic() + 300
    while _num_epochs(run) < epoch:
        if time.monotonic() > deadline:
            raise TimeoutError(f"no epoch {epoch} in {run} after 5 minutes")
        time.sleep(0.01)


def _num_epochs(run: str) -> int:
    log = Path(run) / "log.jsonl"
    return log.read_bytes().count(b"\n") if log.is_file() else 0


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def decoding(config: LesionTraining, settings: Measurement) -> dict[str, float]:
    """Return the median seconds of an epoch of batches from the cache and from Ray Data, and the ratio."""
    import ray.data

    rows = read_manifest(config.manifest)
    labels = class_names(rows)
    ours: list[float] = []
    theirs: list[float] = []
    with ray_cluster("local"):
        ray.data.DataContext.get_current().enable_progress_bars = False
        started = time.perf_counter()
        photos = LesionPhotos(rows, labels=labels, side_px=config.input_px, cache=config.cache)
        first_s = time.perf_counter() - started
        images = ray.data.from_items([{"image": row.image} for row in rows])
        decode: Any = _decode_batch  # Ray types what it takes too narrowly
        squares = images.map_batches(decode, fn_kwargs={"side_px": config.input_px}, batch_size=64)
        for _ in range(settings.rounds):
            order = torch.randperm(len(photos)).split(config.batch_size)
            ours.append(_seconds(photos.__getitems__(part.tolist()) for part in order))
            theirs.append(
                _seconds(squares.iter_torch_batches(batch_size=config.batch_size, prefetch_batches=2))
            )
    return {"decode_once_s": round(first_s, 2), **_ratio("ray_data_epoch_s", theirs, "cache_epoch_s", ours)}


def _decode_batch(batch: Any, side_px: int) -> Any:
    images = [decode_square(read_bytes(str(one)), side_px=side_px).image_HWC for one in batch["image"]]
    return {"image": np.stack(images)}


def _seconds(batches: Iterable[Any]) -> float:
    started = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - started


def _endless(batches: Iterable[Batch]) -> Iterator[Batch]:
    while True:
        yield from batches


def _ratio(first: str, first_s: list[float], second: str, second_s: list[float]) -> dict[str, float]:
    ratios = [a / b for a, b in zip(first_s, second_s, strict=True)]
    return {
        first: round(statistics.median(first_s), 4),
        second: round(statistics.median(second_s), 4),
        "rate_ratio": round(statistics.median(ratios), 3),
        "rate_ratio_low": round(min(ratios), 3),
        "rate_ratio_high": round(max(ratios), 3),
    }


if __name__ == "__main__":
    main()
