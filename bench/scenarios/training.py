"""Measure training: ``python -m bench.scenarios.training pipeline``, ``bf16``, ``ray`` or ``data``.

pipeline: steps on photos (gathered, augmented, mixed, normalised) against the same steps on random tensors.
bf16: steps on random tensors in bfloat16 against the same steps in float32.
ray: epochs under Ray Train with one worker against the same loop without Ray, with the same threads.
data: an epoch of uint8 batches from our cache of decoded photos against Ray Data, decoding every time.
Both sides take turns in one run, so that what else the machine does touches both alike.
"""

import contextlib
import itertools
import json
import multiprocessing
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import psutil
import torch
import tyro

from models.images import decode_square
from models.storage import read_bytes
from train.config import Scale
from train.data.manifest import read_manifest
from train.distributed import DistributedContext
from train.fit import fit
from train.lesion.config import LesionTraining
from train.lesion.dataset import LesionPhotos, class_names
from train.lesion.drawn_lesions import draw_lesion_photos
from train.lesion.task import LesionTask
from train.loop import Batch, computes_bf16, train_epoch
from train.ray_cluster import ray_cluster
from train.run import new_state

TURN_S = 2
"""Of a side (ray); the machine's speed changes from minute to minute."""
PATIENCE_S = 300
"""For an epoch."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Measure a training step and what surrounds it."""

    what: Annotated[Literal["pipeline", "bf16", "ray", "data"], tyro.conf.Positional]
    manifest: str = ""
    """Photos to train on; without one, pictures are drawn."""
    side_px: int = 96
    batch_size: int = 32
    num_photos: int = 480
    """That are drawn."""
    rounds: int = 6
    """Turns that each side takes; of ray, epochs that are compared."""
    steps: int = 6
    """Steps of a turn (pipeline, bf16)."""
    device: str = "cpu"
    """cpu, cuda or, without Ray, cuda:1 and so on; of Ray's GPUs it chooses one itself."""
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
            draw_lesion_photos(folder / "photos", Path(manifest), num_photos=settings.num_photos, size_px=224)
        config = LesionTraining(
            manifest=os.path.abspath(manifest),
            run=str(folder / "run"),
            cache=str(folder / "cache"),
            input_px=settings.side_px,
            start_px=settings.side_px,
            batch_size=settings.batch_size,
            num_epochs=1000,
            keep_checkpoints=0,
            device=settings.device,
        )
        measure = {"pipeline": pipeline, "bf16": in_bfloat16, "ray": under_ray, "data": decoding}[
            settings.what
        ]
        print(json.dumps({"what": settings.what, **measure(config, settings)}))


def pipeline(config: LesionTraining, settings: Measurement) -> dict[str, float]:
    """Return the median seconds of a step on photos and on random tensors, and the ratio of their rates."""
    steps = Steps(config)
    random = [steps.random_batch] * settings.steps
    photos = _endless(steps.setup.train_batches)
    bf16 = computes_bf16(config.device)
    steps.seconds(random, bf16=bf16)  # warm
    turns = [
        (
            steps.seconds(random, bf16=bf16),
            steps.seconds(itertools.islice(photos, settings.steps), bf16=bf16),
        )
        for _ in range(settings.rounds)
    ]
    return _ratio("random_step_s", [turn[0] for turn in turns], "photo_step_s", [turn[1] for turn in turns])


def in_bfloat16(config: LesionTraining, settings: Measurement) -> dict[str, float]:
    """Return the median seconds of a step in float32 and in bfloat16, and the ratio of their rates."""
    steps = Steps(config)
    batches = [steps.random_batch] * settings.steps
    steps.seconds(batches, bf16=False)  # warm
    steps.seconds(batches, bf16=True)
    turns = [
        (steps.seconds(batches, bf16=False), steps.seconds(batches, bf16=True))
        for _ in range(settings.rounds)
    ]
    return _ratio("float32_step_s", [turn[0] for turn in turns], "bf16_step_s", [turn[1] for turn in turns])


class Steps:
    """Training steps of the lesion network, without Ray."""

    def __init__(self, config: LesionTraining) -> None:
        context = DistributedContext(device=config.device)
        task = LesionTask()
        [split] = task.split(config, read_manifest(config.manifest))
        self.setup = task.build(config, context, split)
        steps_per_epoch = len(self.setup.train_batches)
        self._state = new_state(self.setup.net, config, steps_per_epoch=steps_per_epoch, settings={})
        self._device = config.device
        size, num_diagnoses = config.batch_size, self.setup.architecture["num_diagnoses"]
        image = torch.rand(size, 3, config.input_px, config.input_px)
        self.random_batch = {
            "image": image.contiguous(memory_format=torch.channels_last).to(config.device),
            "risk": torch.eye(2)[[0] * size].to(config.device),
            "diagnosis": torch.eye(num_diagnoses)[[0] * size].to(config.device),
        }

    def seconds(self, batches: Iterable[Batch], *, bf16: bool) -> float:
        """Train on the batches and return the mean time of a step."""
        started = time.perf_counter()
        losses = train_epoch(self._state, batches, self.setup.train_loss, max_grad_norm=1.0, bf16=bf16)
        if self._device.startswith("cuda"):
            torch.cuda.synchronize(self._device)
        return (time.perf_counter() - started) / len(losses.steps)


def under_ray(config: LesionTraining, settings: Measurement) -> dict[str, float]:
    """Return the median seconds of an epoch without Ray and with one worker, and the ratio of their rates.

    Both trainings live at once, each with all of its processes, and take turns of ``TURN_S``: the other is
    stopped by signals meanwhile. An epoch, with what ends it, takes what it took in its own turns.
    """
    threads = settings.threads or torch.get_num_threads()
    sides = [
        Side(fit_plain, replace(config, run=f"{config.run}-plain"), threads),
        Side(fit_on_ray, replace(config, run=f"{config.run}-ray"), threads),
    ]
    try:
        for side in sides:
            side.start()
        while min(len(side.epochs_s) for side in sides) <= settings.rounds:
            for side in sides:
                side.take_turn()
    finally:
        for side in sides:
            side.end()
    plain_s, on_ray_s = (side.epochs_s[1 : settings.rounds + 1] for side in sides)  # the first warms up
    return _ratio("plain_epoch_s", plain_s, "ray_epoch_s", on_ray_s)


def fit_plain(training: LesionTraining, threads: int) -> None:
    """Train without Ray."""
    torch.set_num_threads(threads)
    fit(LesionTask(), training, Scale(workers=0))


def fit_on_ray(training: LesionTraining, threads: int) -> None:
    """Train as ``python -m train.launch`` does, with one worker."""
    with ray_cluster("local"):
        on_gpu = training.device.startswith("cuda")
        fit(LesionTask(), training, Scale(workers=1, gpu=on_gpu, cpus_per_worker=threads))


class Side:
    """One of two trainings that take turns, in a process of its own."""

    def __init__(
        self, target: Callable[[LesionTraining, int], None], training: LesionTraining, threads: int
    ) -> None:
        self._log = Path(training.run) / "log.jsonl"
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=target, args=(training, threads))
        self._since_s = 0.0
        self.epochs_s: list[float] = []
        """What each epoch but the first took of the side's own turns."""

    def start(self) -> None:
        """Start, and stop for others after the first epoch."""
        self._process.start()
        deadline = time.monotonic() + PATIENCE_S
        while not self._num_epochs():
            self._check(deadline)
            time.sleep(0.01)
        self._signal(signal.SIGSTOP)

    def take_turn(self) -> None:
        """Go on for ``TURN_S``; RuntimeError if the training ended, TimeoutError if no epoch ends."""
        started = before = time.perf_counter()
        self._signal(signal.SIGCONT)
        while before < started + TURN_S:
            time.sleep(0.01)
            now = time.perf_counter()
            self._since_s, before = self._since_s + now - before, now
            if self._num_epochs() > 1 + len(self.epochs_s):
                self.epochs_s.append(self._since_s)
                self._since_s = 0.0
        self._signal(signal.SIGSTOP)
        self._check(time.monotonic() + PATIENCE_S - self._since_s)

    def end(self) -> None:
        """Kill all processes."""
        if self._process.pid is not None:
            self._signal(signal.SIGKILL)
            self._process.join()

    def _num_epochs(self) -> int:
        return self._log.read_bytes().count(b"\n") if self._log.is_file() else 0

    def _check(self, deadline: float) -> None:
        if not self._process.is_alive():
            raise RuntimeError(f"the training of {self._log.parent} has ended")
        if time.monotonic() > deadline:
            raise TimeoutError(f"no further epoch in {self._log} after {PATIENCE_S} s")

    def _signal(self, number: signal.Signals) -> None:
        """To all processes that there are now; a worker that died has been replaced."""
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self._process.pid)
            for process in (*parent.children(recursive=True), parent):
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
