"""Visitors that one process of the page serves: ``python -m bench.scenarios.page_visitors``.

Each opens the page, sends a photo and gets the answer rendered, on the server that ``make serve`` starts.
"""

import asyncio
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from bench import results
from bench.page_visitors import Visitors
from bench.photos import lesion_photos
from bench.results import Metrics
from bench.servers import RunningServer, Server, cpu_s_between, run_server

PAGE = "ServeReplica:ui:Page"
"""Kind of process in ``RunningServer.cpu_s``."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure the CPU time that a visit costs the page."""

    visits: int = 200
    """In each round."""
    at_once: int = 20
    rounds: int = 5
    out: Path = results.FOLDER


def main(settings: Settings) -> None:
    """Measure, and write ``page_visitors.json``."""
    load_before = results.busy_cores()
    command = [sys.executable, "-m", "serve", "--port", "{port}"]
    (photo,) = lesion_photos("224 px", num=1)
    rounds: list[Metrics] = []
    with run_server(Server(name="skinserve", command=command, ready_path="/readyz")) as server:
        asyncio.run(Visitors(f"{server.url}/ui/", photo, num_at_once=4).come(8))  # warms up
        for _ in range(settings.rounds):
            rounds.append(measure(server, photo, settings))
            print(rounds[-1], flush=True)
    names = [name for name in rounds[0] if name != "failures"]
    summary = {name: results.spread([one[name] for one in rounds]) for name in names}
    print(summary)
    metrics = {"rounds": rounds, "summary": summary}
    results.save("page_visitors", settings, metrics, load_before=load_before, folder=settings.out)


def measure(server: RunningServer, photo: bytes, settings: Settings) -> Metrics:
    """Run the visits; return visits per second, CPU time of the page per visit and 95th percentiles."""
    visitors = Visitors(f"{server.url}/ui/", photo, num_at_once=settings.at_once)
    before, start = server.cpu_s(), time.perf_counter()
    asyncio.run(visitors.come(settings.visits))
    seconds = time.perf_counter() - start
    page_s = cpu_s_between(before, server.cpu_s())[PAGE]
    return {
        "visits_per_s": round(settings.visits / seconds, 2),
        "page_cpu_ms_per_visit": round(1000 * page_s / settings.visits, 1),
        **{
            f"p95_{kind.replace(' ', '_')}_ms": round(1000 * statistics.quantiles(times, n=20)[-1])
            for kind, times in visitors.seconds.items()
        },
        "failures": dict(visitors.failures),
    }


if __name__ == "__main__":
    main(tyro.cli(Settings))
