"""Ten times more photos than the server can answer, for a minute: ``python -m bench.scenarios.overload``.

The arrivals do not wait for answers. Asked is whether those that are let in are answered soon, the others
refused at once, the memory stays flat, and all is as before a few seconds later.
"""

import asyncio
import itertools
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
import uvloop
import yaml

from bench.load import Shot, closed_loop, open_loop
from bench.photos import spots
from bench.results import FOLDER, load_now, of_outcome, save
from bench.scenarios.mixed_workload import memory_bytes
from bench.servers import Running, running, skinserve
from serve.__main__ import LOCAL_YAML
from serve.lesion.config import LesionConfig

TIMEOUT_S = 60.0
NORMAL = 2.0
"""Normal again: a lonely request takes at most this many times what it took before the flood."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Flood the server of a config file."""

    config: Path = LOCAL_YAML
    size: str = "224 px"
    """Of the photos: one of ``bench.photos.SIZES``."""
    times: float = 10
    """Arrivals, as a multiple of the capacity."""
    seconds: float = 60
    capacity_seconds: float = 15
    """How long the capacity is measured."""
    out: Path = FOLDER


def main() -> None:
    """Start the server, flood it, stop it, and keep the figures."""
    settings = tyro.cli(Settings)
    load_before = load_now()
    config = yaml.safe_load(settings.config.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder, running(skinserve(config, Path(folder))) as server:
        arguments = config["applications"][0]["args"]
        figures = uvloop.run(
            flood(server, settings, LesionConfig.model_validate(arguments["lesion"]).max_batch_size)
        )
    save("overload", settings, figures, load_before=load_before, folder=settings.out)
    print(yaml.safe_dump(figures, sort_keys=False))


async def flood(server: Running, settings: Settings, batch_size: int) -> dict[str, Any]:
    """Measure before, during and after.

    Args:
        batch_size: photos of a full batch of the lesion network.
    """
    shots = [
        Shot(name="spot", path="/v1/lesion", body=photo, content_type="image/jpeg")
        for photo in spots(settings.size, num=8)
    ]
    await closed_loop(server.url, shots, clients=1, seconds=3, timeout_s=TIMEOUT_S)
    alone = await closed_loop(server.url, shots, clients=1, seconds=5, timeout_s=TIMEOUT_S)
    # two batches' worth of clients: one is always full while the other computes, and nobody is refused
    full = await closed_loop(
        server.url, shots, clients=2 * batch_size, seconds=settings.capacity_seconds, timeout_s=TIMEOUT_S
    )
    capacity = full.rate(200)
    batch_s = batch_size / capacity
    before = memory_bytes(server.process.pid)
    with _watched_memory(server) as seen:
        outcome = await open_loop(
            server.url,
            shots,
            rate_per_s=settings.times * capacity,
            seconds=settings.seconds,
            timeout_s=TIMEOUT_S,
        )
    recovered = await _recovery_s(server, shots, NORMAL * alone.p(200, 0.95))
    accepted, refused = outcome.p(200, 0.99), outcome.p(503, 0.99)
    return {
        "alone": of_outcome(alone),
        "full": of_outcome(full),
        "full_batch_ms": round(1000 * batch_s, 1),
        "flood": of_outcome(outcome),
        "arrivals_per_s": round(settings.times * capacity, 1),
        "accepted_p99_ms": round(1000 * accepted, 1),
        "accepted_p99_in_batches": round(accepted / batch_s, 2),
        "refused_p50_ms": round(1000 * outcome.p(503, 0.5), 1),
        "refused_p99_ms": round(1000 * refused, 1),
        "share_of_capacity": round(outcome.rate(200) / capacity, 3),
        "memory_mb": {
            "before": round(before / 1e6),
            "highest": round(max(seen) / 1e6),
            "after": round(memory_bytes(server.process.pid) / 1e6),
        },
        "normal_after_s": recovered,
    }


async def _recovery_s(server: Running, shots: list[Shot], normal_s: float) -> float | None:
    """Return the seconds until three lonely requests in a row are answered as quickly as before."""
    began = time.monotonic()
    in_a_row = 0
    for _ in itertools.takewhile(lambda _: time.monotonic() - began < TIMEOUT_S, itertools.count()):
        one = await closed_loop(server.url, shots, clients=1, seconds=0.001, timeout_s=TIMEOUT_S)
        good = one.p(200, 1) <= normal_s  # NaN, when it was not answered, is not
        in_a_row = in_a_row + 1 if good else 0
        if in_a_row == 3:
            return round(time.monotonic() - began, 2)
        await asyncio.sleep(0.05)
    return None


@contextmanager
def _watched_memory(server: Running):
    """Yield a list that gets the memory of the server every few seconds."""
    seen = [memory_bytes(server.process.pid)]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(5):
            seen.append(memory_bytes(server.process.pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    main()
