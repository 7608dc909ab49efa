"""skinserve, baselines with its whole pipeline, and the upper bound, interleaved in turns of seconds.

Command: ``python -m bench.scenarios.interleaved``.

The speed of a shared machine changes from minute to minute by more than the differences measured here. So all
servers run at once. All but one are suspended by SIGSTOP, with all their processes. Ratios compare turns
within half a minute.
"""

import contextlib
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
import uvloop

from bench import results
from bench.baselines.servers import lesion_servers
from bench.load import LoadGenerator
from bench.photos import SIZES
from bench.scenarios.in_process import InProcessLoop, write_photos
from bench.scenarios.lesion_http import (
    SKINSERVE,
    UPPER_BOUND,
    check_usable,
    lesion_requests,
    skinserve_for_clients,
)
from bench.servers import ROOT, RunningServer, run_server
from models.lesion.processor import num_cores
from models.lesion.runtimes import EngineName

WARM_UP_S = 1.0
"""Before each turn: a resumed server first catches up."""
SINGLE_CLIENT = ", single client ms"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure lesion photos over HTTP, interleaved."""

    checkpoint: Path = ROOT / "weights" / "lesion"
    engine: EngineName = "auto"
    """Engine of skinserve, baselines and upper bound."""
    sizes: tuple[str, ...] = tuple(SIZES)
    clients: int = 16
    seconds: float = 3.0
    """Per turn."""
    cycles: int = 5
    """Turns of each server."""
    out: Path = results.FOLDER


def main(settings: Settings) -> None:
    """Measure, and write ``interleaved.json``."""
    load_before = results.busy_cores()
    metrics: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        folder = Path(scratch)
        checkpoint = settings.checkpoint
        photos = {size: write_photos(size, folder / "photos" / size) for size in settings.sizes}
        loops = {
            size: InProcessLoop(checkpoint, folder / "photos" / size, engine=settings.engine)
            for size in settings.sizes
        }
        servers: dict[str, RunningServer] = {}
        for server in (
            skinserve_for_clients(checkpoint, folder, engine=settings.engine, clients=settings.clients),
            *lesion_servers(checkpoint, settings.engine, workers=num_cores()),
        ):
            running = servers[server.name] = stack.enter_context(run_server(server))
            stack.callback(running.send_signal, signal.SIGCONT)  # a suspended process cannot end
            running.send_signal(signal.SIGSTOP)
        for size in settings.sizes:
            with _resumed(servers[SKINSERVE]):
                check_usable(servers[SKINSERVE].url, lesion_requests(SKINSERVE, size, photos[size]))
            cycles = [
                _cycle(
                    servers,
                    loops[size],
                    {name: _generator(name, servers[name], size, photos[size]) for name in servers},
                    settings,
                    number,
                )
                for number in range(settings.cycles)
            ]
            metrics[size] = {"cycles": cycles, "summary": summary(cycles)}
            print(size, metrics[size]["summary"], flush=True)
    results.save("interleaved", settings, metrics, load_before=load_before, folder=settings.out)


def summary(cycles: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return rates and ratios, cycle by cycle, and the extra latency of a single client."""
    names = [name for name in cycles[0] if not name.endswith(SINGLE_CLIENT)]
    baselines = [name for name in names if name not in (SKINSERVE, UPPER_BOUND)]
    skinserve = [one[SKINSERVE] for one in cycles]
    single_client_ms = [one[SKINSERVE + SINGLE_CLIENT] - one[UPPER_BOUND + SINGLE_CLIENT] for one in cycles]
    return {
        **{
            f"{name} per_s": results.spread([one[name] for one in cycles])
            for name in (SKINSERVE, UPPER_BOUND, *baselines)
        },
        "share_of_upper_bound": results.ratios(skinserve, [one[UPPER_BOUND] for one in cycles]),
        "times_best_baseline_with_engine": results.ratios(
            skinserve, [max(one[name] for name in baselines) for one in cycles]
        ),
        "single_client_extra_ms": results.spread(single_client_ms),
    }


def _cycle(
    servers: dict[str, RunningServer],
    loop: InProcessLoop,
    generators: dict[str, LoadGenerator],
    settings: Settings,
    number: int,
) -> dict[str, float]:
    """Measure each in turn; return photos per second by name, and latencies of a single client."""
    metrics: dict[str, float] = {}
    for name in results.rotated([*servers, UPPER_BOUND], number):
        if name == UPPER_BOUND:
            metrics[name] = max(run(settings.seconds / 2) for run in loop.strategies.values())
            metrics[name + SINGLE_CLIENT] = loop.single_photo_ms()
            continue
        with _resumed(servers[name]):
            _measure(generators[name], settings.clients, WARM_UP_S)
            load = _measure(generators[name], settings.clients, settings.seconds)
            metrics[name] = load["corrected_per_s"]
            if name == SKINSERVE:
                single = _measure(generators[name], 1, settings.seconds / 2)
                metrics[name + SINGLE_CLIENT] = single["p50_ms"]
    return metrics


def _generator(name: str, server: RunningServer, size: str, photos: list[bytes]) -> LoadGenerator:
    return LoadGenerator(url=server.url, templates=lesion_requests(name, size, photos), timeout_s=300)


def _measure(generator: LoadGenerator, clients: int, seconds: float) -> results.Metrics:
    result = uvloop.run(generator.closed_loop(clients=clients, seconds=seconds))
    return results.successful(result, generator.url)


@contextlib.contextmanager
def _resumed(server: RunningServer) -> Iterator[None]:
    server.send_signal(signal.SIGCONT)
    try:
        yield
    finally:
        server.send_signal(signal.SIGSTOP)
        time.sleep(0.05)


if __name__ == "__main__":
    main(tyro.cli(Settings))
