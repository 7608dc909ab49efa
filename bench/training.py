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
from dataclasses import dataclass, replace
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


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Measure what surrounds a training step."""

    what: Annotated[Literal["pipeline", "ray", "data"], tyro.conf.Positional]
    manifest: str = ""
    """Photos to train on; without one, 480 pictures are drawn."""
    side_px: int = 96
    batch_size: int = 32
    rounds: int = 6
    """Turns that each side takes."""
    steps: int = 6
    """Steps of a turn (pipeline); a turn of ray is an epoch, whatever this says."""
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

    Both trainings live at once and take turns of an epoch: the other, with all of Ray's processes when it is
    Ray's, is stopped by signals meanwhile.
    """
    num_epochs = settings.rounds + 3  # the first warms up, and the side that ends first must not go on alone
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
        rays = psutil.Process().children(recursive=True)
        _signal(rays, signal.SIGSTOP)
        alone.start()
        alones = [psutil.Process(alone.pid)]
        _wait_for_epoch(plain.run, 1)
        turns: list[tuple[float, float]] = []
        for epoch in range(2, settings.rounds + 2):
            plain_s = _wait_for_epoch(plain.run, epoch)
            _signal(alones, signal.SIGSTOP)
            _signal(rays, signal.SIGCONT)
            ray_s = _wait_for_epoch(on_ray.run, epoch)
            _signal(rays, signal.SIGSTOP)
            _signal(alones, signal.SIGCONT)
            turns.append((plain_s, ray_s))
        alone.kill()
        _signal(rays, signal.SIGCONT)
        worker.join()
    return _ratio("plain_epoch_s", [turn[0] for turn in turns], "ray_epoch_s", [turn[1] for turn in turns])


def _wait_for_epoch(run: str, epoch: int) -> float:
    """Return the seconds from now until ``epoch``, counted from 1, is in the run's log."""
    started = time.perf_counter()
    log = Path(run) / "log.jsonl"
    while not log.is_file() or log.read_bytes().count(b"\n") < epoch:
        if time.perf_counter() - started > 300:
            raise TimeoutError(f"no epoch {epoch} in {log} after 5 minutes")
        time.sleep(0.01)
    return time.perf_counter() - started


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
