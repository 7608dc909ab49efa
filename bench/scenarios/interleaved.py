"""Ours, the peers with our engine and the limit in turns of seconds.

Command: ``python -m bench.scenarios.interleaved``.

A shared machine is faster in one minute than in the next, by more than what is asked here. So all servers
live at once, and whoever has no turn is stopped by a signal, with all its processes, and uses no core. What
is compared ran within the same half minute.
"""

import contextlib
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import tyro
import uvloop

from bench import results
from bench.baselines.servers import classifiers
from bench.load import Shot, closed_loop
from bench.photos import form
from bench.scenarios.in_process import Loop, draw, random_weights
from bench.scenarios.lesion_http import LIMIT, SKINSERVE, ours
from bench.servers import Running, num_cores, running
from models.lesion.runtimes import EngineName

WARM_S = 1.0
"""Before each turn, for what was stopped to catch up."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure spots over HTTP in turns."""

    engine: EngineName = "auto"
    """Of ours, of the peers and of the limit."""
    sizes: tuple[str, ...] = ("224 px", "12 MP")
    clients: int = 16
    seconds: float = 3.0
    """A turn."""
    cycles: int = 5
    """Turns of each."""
    out: Path = results.FOLDER


def main(settings: Settings) -> None:
    """Measure, and write ``interleaved.json``."""
    load_before = results.load_now()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        folder = Path(scratch)
        checkpoint = random_weights(folder / "lesion")
        photos = {size: draw(size, folder / "photos" / size) for size in settings.sizes}
        loops = {
            size: Loop(checkpoint, folder / "photos" / size, engine=settings.engine)
            for size in settings.sizes
        }
        servers: dict[str, Running] = {}
        for server in (
            ours(checkpoint, folder, engine=settings.engine, clients=settings.clients),
            *classifiers(checkpoint, settings.engine, workers=num_cores()),
        ):
            servers[server.name] = stack.enter_context(running(server))
            stack.callback(_signal, servers[server.name], signal.SIGCONT)  # else it could not end
            _signal(servers[server.name], signal.SIGSTOP)
        for size in settings.sizes:
            cycles = [
                _cycle(servers, loops[size], size, photos[size], settings, first=number)
                for number in range(settings.cycles)
            ]
            figures[size] = {"cycles": cycles, "summary": summary(cycles)}
            print(size, figures[size]["summary"], flush=True)
    results.save("interleaved", settings, figures, load_before=load_before, folder=settings.out)


def summary(cycles: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Compare, cycle by cycle, photos per second, and the milliseconds of a lonely request."""
    peers = [name for name in cycles[0] if name not in (SKINSERVE, LIMIT) and not name.endswith(" ms")]
    return {
        **{
            f"{name} per_s": results.spread([one[name] for one in cycles])
            for name in (SKINSERVE, LIMIT, *peers)
        },
        "share_of_limit": results.spread([one[SKINSERVE] / one[LIMIT] for one in cycles]),
        "times_best_peer_with_our_engine": results.spread(
            [one[SKINSERVE] / max(one[name] for name in peers) for one in cycles]
        ),
        "lonely_extra_ms": results.spread(
            [one[f"{SKINSERVE}, lonely ms"] - one[f"{LIMIT}, lonely ms"] for one in cycles]
        ),
    }


def _cycle(
    servers: dict[str, Running], loop: Loop, size: str, photos: list[bytes], settings: Settings, *, first: int
) -> dict[str, float]:
    """Give each a turn; return photos per second by name, and milliseconds of a lonely photo."""
    found: dict[str, float] = {}
    names = [*servers, LIMIT]
    for name in names[first % len(names) :] + names[: first % len(names)]:
        if name == LIMIT:
            found[name] = max(way(settings.seconds / 2) for way in loop.ways.values())
            found[f"{name}, lonely ms"] = loop.lonely_ms()
            continue
        path = "/v1/lesion" if name == SKINSERVE else "/predict"
        forms = [form(size, path, [photo], field="file") for photo in photos]
        with _awake(servers[name]) as server:
            _load(server, forms, clients=settings.clients, seconds=WARM_S)
            load = _load(server, forms, clients=settings.clients, seconds=settings.seconds)
            found[name] = load["fair_per_s"]
            if name == SKINSERVE:
                lonely = _load(server, forms, clients=1, seconds=settings.seconds / 2)
                found[f"{name}, lonely ms"] = lonely["p50_ms"]
    return found


def _load(server: Running, shots: list[Shot], *, clients: int, seconds: float) -> dict[str, Any]:
    outcome = uvloop.run(closed_loop(server.url, shots, clients=clients, seconds=seconds, timeout_s=300))
    found = results.of_outcome(outcome)
    if found["errors"] or not found["answers"]:
        raise RuntimeError(f"{server.url} answered {found}; every answer must be 200")
    return found


@contextlib.contextmanager
def _awake(server: Running) -> Iterator[Running]:
    _signal(server, signal.SIGCONT)
    try:
        yield server
    finally:
        _signal(server, signal.SIGSTOP)
        time.sleep(0.05)


def _signal(server: Running, number: signal.Signals) -> None:
    for process in (*server.process.children(recursive=True), server.process):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


if __name__ == "__main__":
    main(tyro.cli(Settings))
