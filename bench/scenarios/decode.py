"""A JPEG to the input of the lesion network in one thread: ``python -m bench.scenarios.decode``.

skinserve decodes at a reduced size and finds the lesion; Pillow decodes at full size and resizes. Both take
turns, photo by photo.
"""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from bench import results
from bench.photos import SIZES, lesion_photos
from bench.servers import ROOT
from models.checkpoint import read_meta
from models.images import decode_square
from models.lesion.gate import gate_of
from models.lesion.localizer import Localizer
from models.lesion.preparation import prepare_lesion

SKINSERVE, SKINSERVE_DECODING, PILLOW = "skinserve", "skinserve, without localizer", "Pillow at full size"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure the way from a file to the input of the network."""

    checkpoint: Path = ROOT / "weights" / "lesion"
    sizes: tuple[str, ...] = tuple(SIZES)
    cycles: int = 25
    out: Path = results.FOLDER


def main(settings: Settings) -> None:
    """Measure, and write ``decode.json``."""
    load_before = results.busy_cores()
    meta = read_meta(settings.checkpoint)
    gate = gate_of(meta)
    localizer = Localizer(settings.checkpoint, gate) if gate else None
    side = meta.input_px

    def pillow(data: bytes) -> np.ndarray:
        return np.asarray(
            Image.open(io.BytesIO(data)).convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
        )

    ways: dict[str, Callable[[bytes], object]] = {
        SKINSERVE: lambda data: prepare_lesion(data, localizer=localizer, side_px=side),
        SKINSERVE_DECODING: lambda data: decode_square(data, side_px=side),
        PILLOW: pillow,
    }
    metrics: results.Metrics = {}
    for size in settings.sizes:
        photos = lesion_photos(size, num=4)
        for way in ways.values():
            way(photos[0])
        ms = {name: [] for name in ways}
        for number in range(settings.cycles):
            for name in results.rotated([*ways], number):
                ms[name].append(_ms(ways[name], photos[number % len(photos)]))
        metrics[size] = {"ms": {name: results.spread(values) for name, values in ms.items()}}
        print(size, metrics[size], flush=True)
    results.save("decode", settings, {"by_size": metrics}, load_before=load_before, folder=settings.out)


def _ms(way: Callable[[bytes], object], photo: bytes) -> float:
    began = time.perf_counter()
    way(photo)
    return 1000 * (time.perf_counter() - began)


if __name__ == "__main__":
    main(tyro.cli(Settings))
