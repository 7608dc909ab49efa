"""Photos per second of ``skinserve score`` against one process that decodes and scores in a loop.

Both read the same files, with the same checkpoint, and are measured in turns. The loop keeps all cores busy:
it is the faster one of a batch on each core and one batch on all cores. Starts are left out of both.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import tyro

from bench import results
from bench.photos import lesion_photos
from bench.servers import ROOT, num_cores
from models.lesion.engine_loader import load_lesion_engine
from models.lesion.gate import gate_of
from models.lesion.localizer import Localizer
from models.lesion.preparation import prepare_lesion

BATCH_SIZE = 8
NUM_DRAWN = 16
"""Different photos; the others are copies of them."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure bulk scoring."""

    size: str = "224 px"
    photos: int = 2000
    turns: int = 4
    """Of each."""
    photos_per_shard: int = 100
    """Small, so that the end of a short run leaves no core idle for long."""
    checkpoint: Path = ROOT / "weights" / "lesion"
    out: Path = results.FOLDER


def main(settings: Settings) -> None:
    """Measure, and write ``bulk.json``."""
    load_before = results.busy_cores()
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_photos(settings, Path(scratch, "photos"))
        loop = Loop(settings.checkpoint, folder)
        turns: list[dict[str, float]] = []
        for number in range(settings.turns):
            out = Path(scratch, f"out-{number}")
            systems = {
                "loop_batch_per_core": loop.batch_per_core,
                "loop_batch_on_all_cores": loop.batch_on_all_cores,
                "skinserve_score": partial(score, settings, folder, out),
            }
            turns.append({name: systems[name]() for name in results.rotated([*systems], number)})
            print(turns[-1], flush=True)
    summary = summarize(turns)
    print(summary, flush=True)
    metrics = {"photos_per_s": turns, "summary": summary}
    results.save("bulk", settings, metrics, load_before=load_before, folder=settings.out)


def summarize(turns: list[dict[str, float]]) -> dict[str, object]:
    """Return the spread of each rate, and of the ratio to the faster loop of the same turn."""
    rates = {name: [turn[name] for turn in turns] for name in turns[0]}
    loops = [max(rate for name, rate in turn.items() if name != "skinserve_score") for turn in turns]
    return {
        **{name: results.spread(values) for name, values in rates.items()},
        "ratio": results.ratios(rates["skinserve_score"], loops),
    }


def write_photos(settings: Settings, folder: Path) -> Path:
    """Write the photos as files, 1,000 in a folder."""
    drawn = lesion_photos(settings.size, num=NUM_DRAWN)
    for number in range(settings.photos):
        path = folder / f"{number // 1000:04}" / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(drawn[number % NUM_DRAWN])
    return folder


def score(settings: Settings, folder: Path, out: Path) -> float:
    """Run the command; return the photos per second of its summary, which leaves the start out."""
    command = [sys.executable, "-m", "cli.score", str(folder), str(out), "--model", str(settings.checkpoint)]
    command += ["--photos-per-shard", str(settings.photos_per_shard)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["last_run"]["num_photos"] == settings.photos
    return summary["last_run"]["photos_per_s"]


class Loop:
    """Read, prepare and classify files in one process."""

    def __init__(self, checkpoint: Path, folder: Path) -> None:
        self._files = sorted(folder.rglob("*.jpg"))
        self._cores = num_cores()
        self._engine = load_lesion_engine(checkpoint, num_threads=self._cores)
        gate = gate_of(self._engine.meta)
        self._localizer = Localizer(checkpoint, gate) if gate else None
        self._engine.ping()

    def batch_per_core(self) -> float:
        """Return photos per second with a thread for each core that does everything."""
        batches = _batches(self._files)

        def work(_: int) -> None:
            torch.set_num_threads(1)
            for batch in batches:
                self._classify(list(map(self._prepare, batch)))

        with ThreadPoolExecutor(self._cores) as threads:
            began = time.perf_counter()
            list(threads.map(work, range(self._cores)))
            return len(self._files) / (time.perf_counter() - began)

    def batch_on_all_cores(self) -> float:
        """Return photos per second with all cores on one batch, prepared in threads."""
        torch.set_num_threads(self._cores)
        with ThreadPoolExecutor(self._cores) as threads:
            began = time.perf_counter()
            for batch in _batches(self._files):
                self._classify(list(threads.map(self._prepare, batch)))
            return len(self._files) / (time.perf_counter() - began)

    def _prepare(self, file: Path) -> np.ndarray:
        side_px = self._engine.meta.input_px
        return prepare_lesion(file.read_bytes(), localizer=self._localizer, side_px=side_px).image_HWC

    def _classify(self, batch: list[np.ndarray]) -> None:
        self._engine(np.stack(batch))


def _batches(files: list[Path]) -> Iterator[list[Path]]:
    """Yield batches; threads may share the iterator."""
    starts = iter(range(0, len(files), BATCH_SIZE))  # next() of a range iterator holds the GIL
    return map(lambda start: files[start : start + BATCH_SIZE], starts)


if __name__ == "__main__":
    main(tyro.cli(Settings))
