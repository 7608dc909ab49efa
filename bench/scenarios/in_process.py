"""Decode and engine called in a loop, without a server: the limit of what a server on these cores can do.

``bench.scenarios.lesion_http`` starts it in a process of its own, and reads the JSON that it prints. With
``python -m bench.scenarios.in_process --disturbed 0.3`` another process takes a share of one core meanwhile.
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

import numpy as np
import torch
import tyro

from bench.photos import spots
from bench.servers import num_cores
from models.images import decode_square
from models.lesion.engine_loader import load_lesion_engine
from models.lesion.quantization.int8 import activation_names
from models.lesion.runtimes import EngineName
from tests.random_checkpoints import write_lesion

INPUT_PX = 224
NUM_LONELY = 9
DISTURBER = """
import sys, time
busy_s = 0.005 * float(sys.argv[1])
while True:
    until = time.monotonic() + busy_s
    while time.monotonic() < until: pass
    time.sleep(0.005 - busy_s)
"""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Classify the photos of a folder, over and over."""

    checkpoint: Path | None = None
    """A lesion checkpoint; else random weights, ResNet50 at 224 px."""
    photos: Path | None = None
    """Folder of JPEGs; else drawn spots of 224 px."""
    engine: EngineName = "auto"
    batch_size: int = 8
    seconds: float = 5.0
    disturbed: float = 0
    """Share of one core that another process takes meanwhile."""


def main(settings: Settings) -> None:
    """Print photos per second the better way, both ways, and the median milliseconds of a single photo."""
    with tempfile.TemporaryDirectory() as scratch, disturbance(settings.disturbed):
        checkpoint = settings.checkpoint or random_weights(Path(scratch) / "lesion")
        photos = settings.photos or Path(scratch) / "photos"
        if settings.photos is None:
            draw("224 px", photos)
        print(json.dumps(measure(settings, checkpoint, photos)))


class Loop:
    """Decodes and classifies the photos of a folder, over and over."""

    def __init__(self, checkpoint: Path, folder: Path, *, engine: EngineName, batch_size: int = 8) -> None:
        self._cores = num_cores()
        self.engine = load_lesion_engine(checkpoint, num_threads=self._cores, engine=engine)
        self._photos = [file.read_bytes() for file in sorted(folder.glob("*.jpg"))]
        self._batch_size = batch_size
        self.ways = {"whole": self.whole, "apart": self.apart}
        for way in self.ways.values():
            way(0.5)  # warm

    def whole(self, seconds: float) -> float:
        """Let all cores work on one batch, decoded in threads; return photos per second."""
        batch = list(itertools.islice(itertools.cycle(self._photos), self._batch_size))
        with ThreadPoolExecutor(self._cores) as threads:
            began, num_photos = time.perf_counter(), 0
            while (passed := time.perf_counter() - began) < seconds:
                self.engine(np.stack(list(threads.map(self._decode, batch))))
                num_photos += self._batch_size
        return num_photos / passed

    def apart(self, seconds: float) -> float:
        """Let each core work on a smaller batch of its own; return photos per second."""
        size = math.ceil(self._batch_size / self._cores)
        batch = list(itertools.islice(itertools.cycle(self._photos), size))

        def loop(_: int) -> int:
            torch.set_num_threads(1)
            num_photos = 0
            while time.perf_counter() - began < seconds:
                self.engine(np.stack([self._decode(data) for data in batch]))
                num_photos += size
            return num_photos

        with ThreadPoolExecutor(self._cores) as threads:
            began = time.perf_counter()
            return sum(threads.map(loop, range(self._cores))) / (time.perf_counter() - began)

    def lonely_ms(self) -> float:
        """Return the median milliseconds of a single photo."""
        return 1000 * statistics.median(self._one(self._photos[0]) for _ in range(NUM_LONELY))

    def _one(self, data: bytes) -> float:
        began = time.perf_counter()
        self.engine(self._decode(data)[None])
        return time.perf_counter() - began

    def _decode(self, data: bytes) -> np.ndarray:
        return decode_square(data, side_px=self.engine.meta.input_px).image_HWC


def measure(settings: Settings, checkpoint: Path, folder: Path) -> dict[str, Any]:
    """Return what ``main`` prints."""
    loop = Loop(checkpoint, folder, engine=settings.engine, batch_size=settings.batch_size)
    per_s = {name: way(settings.seconds) for name, way in loop.ways.items()}
    lonely_ms = loop.lonely_ms()
    return {"per_s": max(per_s.values()), **per_s, "lonely_ms": lonely_ms, "engine": loop.engine.runtime}


@contextlib.contextmanager
def disturbance(share: float) -> Iterator[None]:
    """Let another process take a share of one core, in pieces of milliseconds, as a server's others do."""
    if not share:
        yield
        return
    disturber = subprocess.Popen([sys.executable, "-c", DISTURBER, str(share)])
    try:
        yield
    finally:
        disturber.kill()
        disturber.wait()


def random_weights(folder: Path) -> Path:
    """Write random weights with ranges for 8 bits, which change answers but not how long they take."""
    before_sum = (".conv3", ".shortcut")  # the others are behind a ReLU, which some engines then leave out
    names = activation_names(INPUT_PX)
    ranges = {name: (-8.0 if name.endswith(before_sum) else 0.0, 8.0) for name in names}
    return write_lesion(folder, input_px=INPUT_PX, int8_ranges=ranges)


def draw(size: str, folder: Path) -> list[bytes]:
    """Draw spots of one of the ``SIZES`` into a folder, and return them."""
    folder.mkdir(parents=True)
    photos = spots(size, num=4)
    for number, photo in enumerate(photos):
        (folder / f"{number}.jpg").write_bytes(photo)
    return photos


if __name__ == "__main__":
    main(tyro.cli(Settings))
