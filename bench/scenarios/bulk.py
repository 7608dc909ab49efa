"""Compare ``skinserve score`` with one process that decodes and scores in a loop.

Both read the same files, with the same checkpoint, and are measured in turns: photos per second, and CPU time
of all processes for each photo, which other programs on the machine disturb less. The loop keeps all cores
busy: it is the faster one of a batch on each core and one batch on all cores. Starts are left out of both.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import psutil
import torch
import tyro

from bench import results
from bench.photos import lesion_photos
from bench.pipeline import Pipeline
from bench.servers import ROOT
from models.lesion.preparation import PreparedLesion
from models.lesion.processor import num_cores

BATCH_SIZE = 8
NUM_DRAWN = 16
"""Different photos; the others are copies of them."""


OURS = "skinserve_score"
POLL_S = 0.2


class Measured(NamedTuple):
    """One turn of one system."""

    photos_per_s: float
    cpu_ms: float
    """CPU time of all processes for each photo, milliseconds."""
    worker_cpu_ms: float
    """The same of the processes that score; the others are Ray's and the command."""


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
        turns: list[dict[str, Measured]] = []
        for number in range(settings.turns):
            out = Path(scratch, f"out-{number}")
            systems = {
                "loop_batch_per_core": loop.batch_per_core,
                "loop_batch_on_all_cores": loop.batch_on_all_cores,
                OURS: partial(score, settings, folder, out),
            }
            turns.append({name: systems[name]() for name in results.rotated([*systems], number)})
            print(turns[-1], flush=True)
    summary = summarize(turns)
    print(summary, flush=True)
    metrics = {
        "turns": [{name: one._asdict() for name, one in turn.items()} for turn in turns],
        "summary": summary,
    }
    results.save("bulk", settings, metrics, load_before=load_before, folder=settings.out)


def summarize(turns: Sequence[Mapping[str, Measured]]) -> dict[str, object]:
    """Return the spread of each system, and the ratios to the better loop of the same turn.

    A ratio of CPU time is that of the loop to ours, so that 1 is as good as the loop in both ratios.
    """
    loops = [[one for name, one in turn.items() if name != OURS] for turn in turns]
    fastest = [max(one.photos_per_s for one in loop) for loop in loops]
    cheapest = [min(one.cpu_ms for one in loop) for loop in loops]
    spreads = {
        f"{name}_{field}": results.spread([getattr(turn[name], field) for turn in turns])
        for name in turns[0]
        for field in Measured._fields
    }
    return {
        **spreads,
        "ratio_photos_per_s": results.ratios([turn[OURS].photos_per_s for turn in turns], fastest),
        "ratio_cpu": results.ratios(cheapest, [turn[OURS].cpu_ms for turn in turns]),
    }


def write_photos(settings: Settings, folder: Path) -> Path:
    """Write the photos as files, 1,000 in a folder."""
    drawn = lesion_photos(settings.size, num=NUM_DRAWN)
    for number in range(settings.photos):
        path = folder / f"{number // 1000:04}" / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(drawn[number % NUM_DRAWN])
    return folder


def score(settings: Settings, folder: Path, out: Path) -> Measured:
    """Run the command; measure the rate by its summary and the CPU time from the first to the last shard."""
    command = [sys.executable, "-m", "cli.score", str(folder), str(out), "--model", str(settings.checkpoint)]
    command += ["--photos-per-shard", str(settings.photos_per_shard)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    cpu_s: dict[tuple[int, bool], float] = {}
    polled: list[tuple[int, float, float]] = []
    while process.poll() is None:
        cpu_s |= _cpu_s_by_process(process.pid)  # processes that ended keep their last value
        worker_s = sum(seconds for (_, is_worker), seconds in cpu_s.items() if is_worker)
        polled.append((len(list(out.glob("rows/part-*"))), sum(cpu_s.values()), worker_s))
        time.sleep(POLL_S)
    if process.returncode:
        raise RuntimeError(f"skinserve score ended with exit code {process.returncode}")
    summary = json.loads((out / "summary.json").read_text())["last_run"]
    assert summary["num_photos"] == settings.photos
    first = next(one for one in polled if one[0])
    last = next(one for one in polled if one[0] == polled[-1][0])
    num_photos = (last[0] - first[0]) * settings.photos_per_shard
    cpu_ms, worker_cpu_ms = (1000 * (last[i] - first[i]) / num_photos for i in (1, 2))
    return Measured(summary["photos_per_s"], cpu_ms, worker_cpu_ms)


def _cpu_s_by_process(pid: int) -> dict[tuple[int, bool], float]:
    """Return the CPU seconds of a process and all below it, by process id and whether it scores photos."""
    found: dict[tuple[int, bool], float] = {}
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            is_worker = "ScoreShard" in "".join(process.cmdline()[:1])
            found[process.pid, is_worker] = times.user + times.system
    return found


class Loop:
    """Read, prepare and classify files in one process."""

    def __init__(self, checkpoint: Path, folder: Path) -> None:
        self._files = sorted(folder.rglob("*.jpg"))
        self._cores = num_cores()
        self._pipeline = Pipeline(checkpoint, num_threads=self._cores)

    def batch_per_core(self) -> Measured:
        """Measure a thread for each core that does everything."""
        batches = _batches(self._files)

        def work(_: int) -> None:
            torch.set_num_threads(1)
            for batch in batches:
                self._classify(list(map(self._prepare, batch)))

        with ThreadPoolExecutor(self._cores) as threads:
            return self._measure(lambda: list(threads.map(work, range(self._cores))))

    def batch_on_all_cores(self) -> Measured:
        """Measure all cores on one batch, prepared in threads."""
        torch.set_num_threads(self._cores)
        with ThreadPoolExecutor(self._cores) as threads:

            def work() -> None:
                for batch in _batches(self._files):
                    self._classify(list(threads.map(self._prepare, batch)))

            return self._measure(work)

    def _measure(self, work: Callable[[], object]) -> Measured:
        began, cpu_began_s = time.perf_counter(), time.process_time()
        work()
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began_s
        cpu_ms = 1000 * cpu_s / len(self._files)
        return Measured(len(self._files) / seconds, cpu_ms, cpu_ms)

    def _prepare(self, file: Path) -> PreparedLesion:
        return self._pipeline.prepare(file.read_bytes())

    def _classify(self, batch: list[PreparedLesion]) -> None:
        self._pipeline.classify(batch)


def _batches(files: list[Path]) -> Iterator[list[Path]]:
    """Yield batches; threads may share the iterator."""
    starts = iter(range(0, len(files), BATCH_SIZE))  # next() of a range iterator holds the GIL
    return map(lambda start: files[start : start + BATCH_SIZE], starts)


if __name__ == "__main__":
    main(tyro.cli(Settings))
