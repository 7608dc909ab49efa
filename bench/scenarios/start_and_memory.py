"""Start time, memory by kind of process, and CPU at rest of ``make serve``.

Command: ``python -m bench.scenarios.start_and_memory``, or with ``NAME=FOLDER`` of several checkouts, which
are measured in turns. Memory is the proportional set size, so that pages which processes share count once.
"""

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import tyro

from bench import results
from bench.results import Metrics
from bench.servers import ROOT, RunningServer, Server, cpu_s_between, kind_of, run_server

READY_PATH = "/readyz"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure a server from the command to rest."""

    checkouts: tyro.conf.Positional[tuple[str, ...]] = ()
    """NAME=FOLDER of each; default: this checkout."""
    rounds: int = 3
    rest_s: float = 20.0
    """Time at rest, over which CPU is measured."""
    out: Path = results.FOLDER


def main(settings: Settings) -> None:
    """Measure, write ``start_and_memory.json``, and print the table of the memory."""
    load_before = results.busy_cores()
    checkouts = dict(one.split("=", 1) for one in settings.checkouts) or {"this checkout": str(ROOT)}
    rounds: list[dict[str, Metrics]] = []
    for number in range(settings.rounds):
        order = results.rotated(list(checkouts), number)
        rounds.append({name: measure(Path(checkouts[name]), settings.rest_s) for name in order})
        print({name: _totals(one) for name, one in rounds[-1].items()}, flush=True)
    summary = {name: summarize([one[name] for one in rounds]) for name in checkouts}
    for name, one in summary.items():
        print(f"\n{name}: {one['totals']}\n\n{table(one['memory_mb'])}")
    metrics = {"rounds": rounds, "summary": summary}
    results.save("start_and_memory", settings, metrics, load_before=load_before, folder=settings.out)


def measure(checkout: Path, rest_s: float) -> Metrics:
    """Start the server of a checkout; return seconds, and memory in MB by kind of process."""
    server = Server(
        name="skinserve",
        command=[sys.executable, "-m", "serve", "--port", "{port}"],
        ready_path=READY_PATH,
        environment={"PYTHONPATH": str(checkout)},
        folder=checkout,
    )
    began = time.monotonic()
    ready_s: list[float] = []
    start_cpu_s: list[float] = []

    def on_ready(running: RunningServer) -> None:
        ready_s.append(time.monotonic() - began)
        start_cpu_s.append(sum(running.cpu_s().values()))

    with run_server(server, on_ready=on_ready) as running:
        before = running.cpu_s()
        time.sleep(rest_s)
        spent = cpu_s_between(before, running.cpu_s())
        memory = memory_by_kind(running.processes())
    return {
        "ready_s": round(ready_s[0], 1),
        "start_cpu_s": round(start_cpu_s[0], 1),
        "cores_at_rest": round(sum(spent.values()) / rest_s, 3),
        "memory_mb": {kind: round(size / 1e6) for kind, size in memory.most_common()},
    }


def memory_by_kind(processes: Sequence[psutil.Process]) -> Counter[str]:
    """Return the proportional set size, bytes, by kind of process."""
    memory: Counter[str] = Counter()
    for process in processes:
        try:
            memory[kind_of(process)] += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return memory


def summarize(rounds: Sequence[Metrics]) -> Metrics:
    """Return the spread of the totals, and the median memory of each kind of process."""
    kinds = {kind for one in rounds for kind in one["memory_mb"]}
    return {
        "totals": {
            name: results.spread([_totals(one)[name] for one in rounds]) for name in _totals(rounds[0])
        },
        "memory_mb": {
            kind: results.spread([one["memory_mb"].get(kind, 0) for one in rounds])["median"]
            for kind in sorted(kinds)
        },
    }


def table(memory_mb: Mapping[str, float]) -> str:
    """Return the memory by kind of process as a Markdown table, the largest first."""
    rows = sorted(memory_mb.items(), key=lambda row: -row[1])
    lines = [f"| {kind} | {size:.0f} MB |" for kind, size in rows]
    return "\n".join(
        ["| process | memory |", "|---|---|", *lines, f"| all | {sum(memory_mb.values()):.0f} MB |"]
    )


def _totals(one: Mapping[str, Any]) -> dict[str, float]:
    return {
        **{name: one[name] for name in ("ready_s", "start_cpu_s", "cores_at_rest")},
        "all_memory_mb": sum(one["memory_mb"].values()),
    }


if __name__ == "__main__":
    main(tyro.cli(Settings))
