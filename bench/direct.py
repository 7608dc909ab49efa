"""Decode and engine called in a loop, without a server: the limit of what a server on these cores can do.

``bench.lesion_http`` starts it in a process of its own, and reads the JSON that it prints.
"""

import itertools
import json
import math
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from bench.servers import num_cores
from models.engine import EngineName, load_lesion_engine
from models.images import decode_square

NUM_LONELY = 9


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Classify the photos of a folder, over and over."""

    checkpoint: Path
    photos: Path
    """Folder of JPEGs."""
    engine: EngineName = "auto"
    batch_size: int = 8
    seconds: float = 5.0


def main(settings: Settings) -> None:
    """Print photos per second the better way, both ways, and the median milliseconds of a single photo."""
    cores = num_cores()
    engine = load_lesion_engine(settings.checkpoint, num_threads=cores, engine=settings.engine)
    photos = [file.read_bytes() for file in sorted(settings.photos.glob("*.jpg"))]

    def decode(data: bytes) -> np.ndarray:
        return decode_square(data, side_px=engine.meta.input_px).image_HWC

    def one(data: bytes) -> float:
        began = time.perf_counter()
        engine(decode(data)[None])
        return time.perf_counter() - began

    def whole(seconds: float) -> float:
        """All cores work on one batch, decoded in threads; return photos per second."""
        batch = list(itertools.islice(itertools.cycle(photos), settings.batch_size))
        with ThreadPoolExecutor(cores) as threads:
            began, num_photos = time.perf_counter(), 0
            while (passed := time.perf_counter() - began) < seconds:
                engine(np.stack(list(threads.map(decode, batch))))
                num_photos += settings.batch_size
        return num_photos / passed

    def apart(seconds: float) -> float:
        """Each core works on a smaller batch of its own; return photos per second."""
        size = math.ceil(settings.batch_size / cores)
        batch = list(itertools.islice(itertools.cycle(photos), size))

        def loop(_: int) -> int:
            torch.set_num_threads(1)
            num_photos = 0
            while time.perf_counter() - began < seconds:
                engine(np.stack([decode(data) for data in batch]))
                num_photos += size
            return num_photos

        with ThreadPoolExecutor(cores) as threads:
            began = time.perf_counter()
            return sum(threads.map(loop, range(cores))) / (time.perf_counter() - began)

    ways = {"whole": whole, "apart": apart}
    for way in ways.values():
        way(0.5)  # warm
    per_s = {name: way(settings.seconds) for name, way in ways.items()}
    lonely_s = [one(photos[0]) for _ in range(NUM_LONELY)]
    found = {"per_s": max(per_s.values()), **per_s, "lonely_ms": 1000 * statistics.median(lonely_s)}
    print(json.dumps({**found, "engine": engine.runtime}))


if __name__ == "__main__":
    main(tyro.cli(Settings))
