"""Decode and engine called in a loop, without a server: the limit of what a server on these cores can do.

``bench.lesion_http`` starts it in a process of its own, and reads the JSON that it prints.
"""

import itertools
import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
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
    """Print photos per second in batches, and the median milliseconds of a single photo."""
    cores = num_cores()
    engine = load_lesion_engine(settings.checkpoint, num_threads=cores, engine=settings.engine)
    photos = [file.read_bytes() for file in sorted(settings.photos.glob("*.jpg"))]

    def decode(data: bytes) -> np.ndarray:
        return decode_square(data, side_px=engine.meta.input_px).image_HWC

    def one(data: bytes) -> float:
        began = time.perf_counter()
        engine(decode(data)[None])
        return time.perf_counter() - began

    with ThreadPoolExecutor(cores) as threads:
        batch = list(itertools.islice(itertools.cycle(photos), settings.batch_size))
        engine(np.stack(list(threads.map(decode, batch))))  # warm
        began, num_photos = time.perf_counter(), 0
        while (passed := time.perf_counter() - began) < settings.seconds:
            engine(np.stack(list(threads.map(decode, batch))))
            num_photos += settings.batch_size
    lonely_s = [one(photos[0]) for _ in range(NUM_LONELY)]
    found = {"per_s": num_photos / passed, "lonely_ms": 1000 * statistics.median(lonely_s)}
    print(json.dumps({**found, "engine": engine.runtime}))


if __name__ == "__main__":
    main(tyro.cli(Settings))
