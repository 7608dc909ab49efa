"""Ten times more requests than the server can answer, for minutes: ``python -m bench.scenarios.overload``.

Arrivals do not depend on responses. Measured are the latency of accepted and of rejected requests, memory,
and the time until a single client has its usual latency again.
"""

import asyncio
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tyro
import uvloop
import yaml

from bench.load import LoadGenerator
from bench.photos import lesion_photos, raw_request
from bench.results import FOLDER, Metrics, busy_cores, save, spread, summarize
from bench.servers import RunningServer, run_server, skinserve_server
from serve.__main__ import LOCAL_YAML
from serve.lesion.config import LesionConfig

RECOVERY_TIMEOUT_S = 60.0
RECOVERED_FACTOR = 2.0
"""Largest latency of a single client after recovery, as a multiple of the p95 before the overload."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Overload the server of a config file."""

    config: Path = LOCAL_YAML
    size: str = "224 px"
    """Size of the photos: one of ``bench.photos.SIZES``."""
    load_factor: float = 10
    """Arrival rate as a multiple of the capacity."""
    seconds: float = 60
    capacity_seconds: float = 15
    """Length of the load that measures the capacity."""
    runs: int = 3
    """One after the other, on one server."""
    out: Path = FOLDER


def main() -> None:
    """Start the server, overload it, stop it, and write ``overload.json``."""
    settings = tyro.cli(Settings)
    load_before = busy_cores()
    config = yaml.safe_load(settings.config.read_text(encoding="utf-8"))
    lesion = LesionConfig.model_validate(config["applications"][0]["args"]["lesion"])
    with (
        tempfile.TemporaryDirectory() as folder,
        run_server(skinserve_server(config, Path(folder))) as server,
    ):
        runs = [uvloop.run(measure(server, settings, lesion.max_batch_size)) for _ in range(settings.runs)]
    metrics: Metrics = {"runs": runs, "summary": summarize_runs(runs)}
    save("overload", settings, metrics, load_before=load_before, folder=settings.out)
    print(yaml.safe_dump(metrics, sort_keys=False))


def summarize_runs(runs: list[Metrics]) -> Metrics:
    """Return the spread over the runs; ``recovery_s`` over those with a recovery."""
    names = ("accepted_p99_in_batches", "rejected_p99_ms", "share_of_capacity")
    recovered = [one["recovery_s"] for one in runs if one["recovery_s"] is not None]
    return {
        **{name: spread([one[name] for one in runs]) for name in names},
        "recovery_s": spread(recovered) if recovered else None,
        "num_not_recovered": len(runs) - len(recovered),
        "memory_growth_mb": spread(
            [one["memory_mb"]["highest"] - one["memory_mb"]["before"] for one in runs]
        ),
    }


async def measure(server: RunningServer, settings: Settings, batch_size: int) -> Metrics:
    """Measure before, during and after the overload.

    Args:
        batch_size: photos in a full batch of the lesion network.
    """
    photos = lesion_photos(settings.size, num=8)
    templates = [raw_request("lesion", "/v1/lesion", photo) for photo in photos]
    generator = LoadGenerator(url=server.url, templates=templates)
    await generator.closed_loop(clients=1, seconds=3)
    single = await generator.closed_loop(clients=1, seconds=5)
    # clients for two batches: one computes while the other fills, and none is rejected
    saturated = await generator.closed_loop(clients=2 * batch_size, seconds=settings.capacity_seconds)
    capacity = saturated.rate(200)
    batch_s = batch_size / capacity
    memory_before = server.memory_bytes()
    with _sampled_memory(server) as samples:
        overload = await generator.open_loop(
            rate_per_s=settings.load_factor * capacity, seconds=settings.seconds
        )
    recovery_s = await _recovery_s(generator, RECOVERED_FACTOR * single.percentile(200, 0.95))
    accepted_p99 = overload.percentile(200, 0.99)
    return {
        "single_client": summarize(single),
        "saturated": summarize(saturated),
        "full_batch_ms": round(1000 * batch_s, 1),
        "overload": summarize(overload),
        "arrivals_per_s": round(settings.load_factor * capacity, 1),
        "accepted_p99_ms": round(1000 * accepted_p99, 1),
        "accepted_p99_in_batches": round(accepted_p99 / batch_s, 2),
        "rejected_p50_ms": round(1000 * overload.percentile(503, 0.5), 1),
        "rejected_p99_ms": round(1000 * overload.percentile(503, 0.99), 1),
        "share_of_capacity": round(overload.rate(200) / capacity, 3),
        "memory_mb": {
            "before": round(memory_before / 1e6),
            "highest": round(max(samples) / 1e6),
            "after": round(server.memory_bytes() / 1e6),
        },
        "recovery_s": recovery_s,
    }


async def _recovery_s(generator: LoadGenerator, usual_s: float) -> float | None:
    """Return the seconds until three single requests in a row take at most ``usual_s``."""
    began = time.monotonic()
    in_a_row = 0
    while time.monotonic() - began < RECOVERY_TIMEOUT_S:
        result = await generator.closed_loop(clients=1, seconds=0.001)
        recovered = result.percentile(200, 1) <= usual_s  # false for NaN, after an error
        in_a_row = in_a_row + 1 if recovered else 0
        if in_a_row == 3:
            return round(time.monotonic() - began, 2)
        await asyncio.sleep(0.05)
    return None


@contextmanager
def _sampled_memory(server: RunningServer) -> Iterator[list[int]]:
    """Yield a list to which a thread adds the memory of the server every five seconds."""
    samples = [server.memory_bytes()]
    done = threading.Event()

    def sample() -> None:
        while not done.wait(5):
            samples.append(server.memory_bytes())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    main()
