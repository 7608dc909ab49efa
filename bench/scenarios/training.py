"""Measure training: ``python -m bench.scenarios.training WHAT``, in which WHAT is one of these.

pipeline: steps on photos (collated, augmented, mixed, normalised) against the same steps on random tensors.
bf16: steps on random tensors in bfloat16 against the same steps in float32.
ray: epochs under Ray Train with one worker against the same loop without Ray, with the same threads.
workers: epochs with two workers of Ray Train against one with all threads and twice the batch.
data: an epoch of uint8 batches from the cache of decoded photos against Ray Data, which decodes every time.
Both sides are interleaved in one run, so that other load affects both alike.
"""

import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro

from bench.scenarios.training_under_ray import (
    epoch_seconds,
    fit_on_ray,
    fit_on_two_workers,
    fit_without_ray,
)
from models.images import decode_square
from models.storage import read_bytes
from train.data.manifest import read_manifest
from train.distributed import DistributedContext
from train.lesion.config import LesionTraining
from train.lesion.dataset import LesionPhotos, class_names
from train.lesion.drawn_lesions import draw_lesion_photos
from train.lesion.task import LesionTask
from train.loop import Batch, computes_bf16, train_epoch
from train.ray_cluster import ray_cluster
from train.run import new_state


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure a training step, Ray Train or the data pipeline."""

    what: Annotated[Literal["pipeline", "bf16", "ray", "workers", "data"], tyro.conf.Positional]
    manifest: str = ""
    """Photos to train on; default: drawn ones."""
    side_px: int = 96
    batch_size: int = 32
    num_photos: int = 480
    """Number of drawn photos."""
    rounds: int = 6
    """Turns of each side; for ``ray`` and ``workers``, compared epochs."""
    steps: int = 6
    """Per turn (pipeline, bf16)."""
    device: str = "cpu"
    """cpu, cuda or, without Ray, cuda:1 and so on; Ray selects a GPU itself."""
    threads: int = 0
    """Of each side (ray, workers); 0 takes all cores, which Ray's own processes share."""


def main() -> None:
    """Measure what the command line names and print one line of JSON."""
    settings = tyro.cli(Settings)
    measure = {"pipeline": pipeline, "bf16": bf16, "ray": ray, "workers": workers, "data": data}[
        settings.what
    ]
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
        print(json.dumps({"what": settings.what, **measure(config, settings)}))


def pipeline(config: LesionTraining, settings: Settings) -> dict[str, float]:
    """Return the median seconds of a step on random tensors and on photos, and the ratio of their rates."""
    steps = TrainingSteps(config)
    random = [steps.random_batch] * settings.steps
    photos = _endless(steps.setup.train_batches)
    use_bf16 = computes_bf16(config.device)
    steps.mean_s(random, bf16=use_bf16)  # warm up
    random_s: list[float] = []
    photo_s: list[float] = []
    for _ in range(settings.rounds):
        random_s.append(steps.mean_s(random, bf16=use_bf16))
        photo_s.append(steps.mean_s(itertools.islice(photos, settings.steps), bf16=use_bf16))
    return _compare("random_step_s", random_s, "photo_step_s", photo_s)


def bf16(config: LesionTraining, settings: Settings) -> dict[str, float]:
    """Return the median seconds of a step in float32 and in bfloat16, and the ratio of their rates."""
    steps = TrainingSteps(config)
    batches = [steps.random_batch] * settings.steps
    for use_bf16 in (False, True):
        steps.mean_s(batches, bf16=use_bf16)  # warm up
    float32_s: list[float] = []
    bf16_s: list[float] = []
    for _ in range(settings.rounds):
        float32_s.append(steps.mean_s(batches, bf16=False))
        bf16_s.append(steps.mean_s(batches, bf16=True))
    return _compare("float32_step_s", float32_s, "bf16_step_s", bf16_s)


class TrainingSteps:
    """Train the lesion network without Ray."""

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

    def mean_s(self, batches: Iterable[Batch], *, bf16: bool) -> float:
        """Train on the batches and return the mean seconds of a step."""
        began = time.perf_counter()
        losses = train_epoch(self._state, batches, self.setup.train_loss, max_grad_norm=1.0, bf16=bf16)
        if self._device.startswith("cuda"):
            torch.cuda.synchronize(self._device)
        return (time.perf_counter() - began) / len(losses.steps)


def ray(config: LesionTraining, settings: Settings) -> dict[str, float]:
    """Return the median seconds of an epoch without Ray and with one worker, and the ratio of their rates."""
    sides = (fit_without_ray, fit_on_ray)
    plain_s, ray_s = epoch_seconds(config, *sides, num_epochs=settings.rounds, threads=settings.threads)
    return _compare("plain_epoch_s", plain_s, "ray_epoch_s", ray_s)


def workers(config: LesionTraining, settings: Settings) -> dict[str, float]:
    """Return the median seconds of an epoch with one and with two workers, and the ratio of their rates."""
    sides = (fit_on_ray, fit_on_two_workers)
    one_s, two_s = epoch_seconds(config, *sides, num_epochs=settings.rounds, threads=settings.threads)
    return _compare("one_worker_epoch_s", one_s, "two_workers_epoch_s", two_s)


def data(config: LesionTraining, settings: Settings) -> dict[str, float]:
    """Return the median seconds of an epoch of batches from Ray Data and from the cache, and their ratio."""
    import ray.data as ray_data

    rows = read_manifest(config.manifest)
    cache_s: list[float] = []
    ray_data_s: list[float] = []
    with ray_cluster("local"):
        ray_data.DataContext.get_current().enable_progress_bars = False
        began = time.perf_counter()
        photos = LesionPhotos(rows, labels=class_names(rows), side_px=config.input_px, cache=config.cache)
        decode_once_s = time.perf_counter() - began
        images = ray_data.from_items([{"image": row.image} for row in rows])
        decode: Any = _decode_batch  # Ray's type of a batch function is too narrow
        squares = images.map_batches(decode, fn_kwargs={"side_px": config.input_px}, batch_size=64)
        for _ in range(settings.rounds):
            order = torch.randperm(len(photos)).split(config.batch_size)
            cache_s.append(_seconds(photos.__getitems__(part.tolist()) for part in order))
            batches = squares.iter_torch_batches(batch_size=config.batch_size, prefetch_batches=2)
            ray_data_s.append(_seconds(batches))
    ratios = _compare("ray_data_epoch_s", ray_data_s, "cache_epoch_s", cache_s)
    return {"decode_once_s": round(decode_once_s, 2), **ratios}


def _decode_batch(batch: Any, side_px: int) -> Any:
    images = [decode_square(read_bytes(str(one)), side_px=side_px).image_HWC for one in batch["image"]]
    return {"image": np.stack(images)}


def _seconds(batches: Iterable[Any]) -> float:
    began = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - began


def _endless(batches: Iterable[Batch]) -> Iterator[Batch]:
    while True:
        yield from batches


def _compare(reference: str, reference_s: list[float], name: str, seconds: list[float]) -> dict[str, float]:
    """Return both medians, and the ratio of the rate to the reference rate, turn by turn."""
    ratios = [a / b for a, b in zip(reference_s, seconds, strict=True)]
    return {
        reference: round(statistics.median(reference_s), 4),
        name: round(statistics.median(seconds), 4),
        "rate_ratio": round(statistics.median(ratios), 3),
        "rate_ratio_low": round(min(ratios), 3),
        "rate_ratio_high": round(max(ratios), 3),
    }


if __name__ == "__main__":
    main()
