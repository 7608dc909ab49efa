"""Throughput by number of replicas, and CPU time by process: ``python -m bench.scenarios.replicas``.

A replica holds one request at a time for a fixed time without CPU, like a network on its own device. So
four of them fit on any machine. The loss against 1, 2 and 4 times one replica is the cost of HAProxy,
gateway and routing.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tyro
import uvloop

from bench import results
from bench.http_client import RequestTemplate
from bench.load import LoadGenerator
from bench.results import Metrics
from bench.scenarios import echo_app
from bench.servers import RunningServer, cpu_s_between, run_server, skinserve_server

BODY_BYTES = 150_000
"""Pixels of a decoded photo of 224 px."""
CLIENTS_PER_REPLICA = 8


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure throughput by number of replicas."""

    replicas: tuple[int, ...] = (1, 2, 4)
    hold_s: float = 0.02
    seconds: float = 8.0
    """Per load."""
    rounds: int = 2
    out: Path = results.FOLDER


def main(settings: Settings) -> None:
    """Measure, and write ``replicas.json``."""
    load_before = results.busy_cores()
    rounds: list[Metrics] = []
    for _ in range(settings.rounds):
        rounds.append({str(count): _measure(count, settings) for count in settings.replicas})
        print(rounds[-1], flush=True)
    metrics = {"rounds": rounds, "summary": summary(rounds, settings.hold_s)}
    results.save("replicas", settings, metrics, load_before=load_before, folder=settings.out)


def summary(rounds: list[Metrics], hold_s: float) -> Metrics:
    """Return by number of replicas: rate, share of the ideal rate, and CPU time by process."""
    return {
        count: _summary_of_count([one[count] for one in rounds], int(count), hold_s) for count in rounds[0]
    }


def _summary_of_count(loads: list[Metrics], count: int, hold_s: float) -> Metrics:
    rates = [load["per_s"] for load in loads]

    def by_process(metric: str) -> Metrics:
        kinds = sorted({kind for load in loads for kind in load["cpu_ms_per_request"]})
        return {kind: results.spread([load[metric].get(kind, 0) for load in loads]) for kind in kinds}

    return {
        "per_s": results.spread(rates),
        "share_of_ideal": results.spread([rate * hold_s / count for rate in rates]),
        "cores_per_replica": results.spread([load["cores_per_replica"] for load in loads]),
        "cpu_ms_per_request": by_process("cpu_ms_per_request"),
        "idle_cores": by_process("idle_cores"),
    }


def _measure(replicas: int, settings: Settings) -> Metrics:
    request = RequestTemplate(
        name="backend", path="/backend", body=bytes(BODY_BYTES), content_type="image/jpeg"
    )
    clients = CLIENTS_PER_REPLICA * replicas
    config = echo_app.config(backends=replicas, hold_s=settings.hold_s)
    with (
        tempfile.TemporaryDirectory() as folder,
        run_server(skinserve_server(config, Path(folder))) as server,
    ):
        idle = _idle_cores(server, settings.seconds)
        generator = LoadGenerator(url=server.url, templates=[request])
        uvloop.run(generator.closed_loop(clients=clients, seconds=1))  # warm up
        before = server.cpu_s()
        result = uvloop.run(generator.closed_loop(clients=clients, seconds=settings.seconds))
        spent = cpu_s_between(before, server.cpu_s())
    metrics = results.summarize(result)
    backend_s = next((seconds for kind, seconds in spent.items() if kind.endswith(":Backend")), 0.0)
    return {
        **metrics,
        "cores_per_replica": backend_s / result.seconds / replicas,
        "cpu_ms_per_request": {
            kind: round(1000 * seconds / max(metrics["responses"], 1), 4) for kind, seconds in spent.items()
        },
        "idle_cores": idle,
    }


def _idle_cores(server: RunningServer, seconds: float) -> dict[str, float]:
    """Return the cores used by each kind of process without requests."""
    before = server.cpu_s()
    time.sleep(seconds)
    return {kind: round(used / seconds, 4) for kind, used in cpu_s_between(before, server.cpu_s()).items()}


if __name__ == "__main__":
    main(tyro.cli(Settings))
