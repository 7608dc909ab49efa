"""Prepare and classify in a loop without a server: the upper bound for any server on these cores.

``bench.scenarios.lesion_http`` runs it as a child process and reads its JSON. With
``python -m bench.scenarios.in_process --background-load 0.3`` another process uses 30% of one core meanwhile.
"""

import contextlib
import itertools
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from bench.photos import lesion_photos
from bench.pipeline import Pipeline
from bench.servers import ROOT
from models.lesion.processor import num_cores
from models.lesion.runtimes import EngineName

NUM_SINGLE_PHOTOS = 9
BACKGROUND_LOAD = """
import sys, time
busy_s = 0.005 * float(sys.argv[1])
while True:
    until = time.monotonic() + busy_s
    while time.monotonic() < until: pass
    time.sleep(0.005 - busy_s)
"""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Classify the photos of a folder repeatedly."""

    checkpoint: Path = ROOT / "weights" / "lesion"
    photos: Path | None = None
    """Folder of JPEGs; default: drawn lesions of 224 px."""
    engine: EngineName = "auto"
    batch_size: int = 8
    seconds: float = 5.0
    background_load: float = 0
    """Share of one core that another process uses meanwhile."""


def main(settings: Settings) -> None:
    """Print photos per second of both ways to batch, and the median latency of a single photo."""
    with tempfile.TemporaryDirectory() as scratch, background_load(settings.background_load):
        photos = settings.photos or Path(scratch) / "photos"
        if settings.photos is None:
            write_photos("224 px", photos)
        print(json.dumps(measure(settings, settings.checkpoint, photos)))


class InProcessLoop:
    """Prepare and classify the photos of a folder repeatedly."""

    def __init__(self, checkpoint: Path, folder: Path, *, engine: EngineName, batch_size: int = 8) -> None:
        self._cores = num_cores()
        self.pipeline = Pipeline(checkpoint, num_threads=self._cores, engine=engine)
        self._photos = [file.read_bytes() for file in sorted(folder.glob("*.jpg"))]
        self._batch_size = batch_size
        self.strategies = {
            "one_batch_on_all_cores": self.one_batch_on_all_cores,
            "one_batch_per_core": self.one_batch_per_core,
        }
        for run in self.strategies.values():
            run(0.5)  # warm up

    def one_batch_on_all_cores(self, seconds: float) -> float:
        """Return photos per second with all cores on one batch, prepared in threads."""
        batch = list(itertools.islice(itertools.cycle(self._photos), self._batch_size))
        with ThreadPoolExecutor(self._cores) as threads:
            began, num_photos = time.perf_counter(), 0
            while (elapsed := time.perf_counter() - began) < seconds:
                self.pipeline.classify(list(threads.map(self.pipeline.prepare, batch)))
                num_photos += self._batch_size
        return num_photos / elapsed

    def one_batch_per_core(self, seconds: float) -> float:
        """Return photos per second with a smaller batch on each core."""
        size = math.ceil(self._batch_size / self._cores)
        batch = list(itertools.islice(itertools.cycle(self._photos), size))

        def loop(_: int) -> int:
            torch.set_num_threads(1)
            num_photos = 0
            while time.perf_counter() - began < seconds:
                self.pipeline.classify([self.pipeline.prepare(data) for data in batch])
                num_photos += size
            return num_photos

        with ThreadPoolExecutor(self._cores) as threads:
            began = time.perf_counter()
            return sum(threads.map(loop, range(self._cores))) / (time.perf_counter() - began)

    def single_photo_ms(self) -> float:
        """Return the median latency of a single photo in milliseconds."""
        return 1000 * statistics.median(self._single_s(self._photos[0]) for _ in range(NUM_SINGLE_PHOTOS))

    def _single_s(self, data: bytes) -> float:
        began = time.perf_counter()
        self.pipeline.classify([self.pipeline.prepare(data)])
        return time.perf_counter() - began


def measure(settings: Settings, checkpoint: Path, folder: Path) -> dict[str, Any]:
    """Return the metrics that ``main`` prints."""
    loop = InProcessLoop(checkpoint, folder, engine=settings.engine, batch_size=settings.batch_size)
    per_s = {name: run(settings.seconds) for name, run in loop.strategies.items()}
    return {
        "per_s": max(per_s.values()),
        **per_s,
        "single_photo_ms": loop.single_photo_ms(),
        "engine": loop.pipeline.engine.runtime,
    }


@contextlib.contextmanager
def background_load(share: float) -> Iterator[None]:
    """Run a process that uses a share of one core, in bursts of milliseconds like a server's processes."""
    if not share:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", BACKGROUND_LOAD, str(share)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def write_photos(size: str, folder: Path) -> list[bytes]:
    """Draw lesion photos in one of the ``SIZES``, write them to a folder and return them."""
    folder.mkdir(parents=True)
    photos = lesion_photos(size, num=4)
    for number, photo in enumerate(photos):
        (folder / f"{number}.jpg").write_bytes(photo)
    return photos


if __name__ == "__main__":
    main(tyro.cli(Settings))
