"""How throughput grows with replicas, and what controller and proxy cost.

Command: ``python -m bench.scenarios.replicas``.

A replica holds one request after the other for a fixed time without using a core, as a network on a device of
its own would; so four of them fit on any machine, each taking a fraction of one core, and what is lost
against 1, 2, 4 times one replica is lost on the way: HAProxy, gateway, routing. CPU seconds are counted by
kind of process.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
import uvloop

from bench import results
from bench.load import Shot, closed_loop
from bench.scenarios import echo_app
from bench.servers import Running, running, since, skinserve

BODY_BYTES = 150_000
"""A decoded photo of 224 px."""
CLIENTS_PER_REPLICA = 8


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure replicas."""

    replicas: tuple[int, ...] = (1, 2, 4)
    hold_s: float = 0.02
    seconds: float = 8.0
    """A load."""
    rounds: int = 2
    out: Path = results.FOLDER


def main(settings: Settings) -> None:
    """Measure, and write ``replicas.json``."""
    load_before = results.load_now()
    rounds: list[dict[str, Any]] = []
    for _ in range(settings.rounds):
        rounds.append({str(number): _round(number, settings) for number in settings.replicas})
        print(rounds[-1], flush=True)
    figures = {"rounds": rounds, "summary": summary(rounds, settings.hold_s)}
    results.save("replicas", settings, figures, load_before=load_before, folder=settings.out)


def summary(rounds: list[dict[str, Any]], hold_s: float) -> dict[str, Any]:
    """Return by number of replicas: rate, share of the ideal, CPU milliseconds a request by process."""
    found: dict[str, Any] = {}
    for number in rounds[0]:
        rates = [one[number]["per_s"] for one in rounds]
        kinds = {kind for one in rounds for kind in one[number]["cpu_ms_per_request"]}
        found[number] = {
            "per_s": results.spread(rates),
            "share_of_ideal": results.spread([rate * hold_s / int(number) for rate in rates]),
            "cores_of_a_replica": results.spread([one[number]["cores_of_a_replica"] for one in rounds]),
            "cpu_ms_per_request": {
                kind: results.spread([one[number]["cpu_ms_per_request"].get(kind, 0) for one in rounds])
                for kind in sorted(kinds)
            },
            "idle_cores": {
                kind: results.spread([one[number]["idle_cores"].get(kind, 0) for one in rounds])
                for kind in sorted(kinds)
            },
        }
    return found


def _round(replicas: int, settings: Settings) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        config = echo_app.config(stages=replicas, hold_s=settings.hold_s)
        with running(skinserve(config, Path(folder))) as server:
            idle = _cores(server, settings.seconds)
            shot = Shot(name="staged", path="/staged", body=bytes(BODY_BYTES), content_type="image/jpeg")
            clients = CLIENTS_PER_REPLICA * replicas
            uvloop.run(closed_loop(server.url, [shot], clients=clients, seconds=1, timeout_s=60))
            before = server.cpu_s()
            outcome = uvloop.run(
                closed_loop(server.url, [shot], clients=clients, seconds=settings.seconds, timeout_s=60)
            )
            spent = since(before, server.cpu_s())
    found = results.of_outcome(outcome)
    stage_s = next((seconds for kind, seconds in spent.items() if kind.endswith(":Stage")), 0.0)
    return {
        **found,
        "cores_of_a_replica": stage_s / outcome.seconds / replicas,
        "cpu_ms_per_request": {
            kind: round(1000 * seconds / max(found["answers"], 1), 4) for kind, seconds in spent.items()
        },
        "idle_cores": idle,
    }


def _cores(server: Running, seconds: float) -> dict[str, float]:
    """Return how many cores each kind of process uses while nobody asks anything."""
    before = server.cpu_s()
    time.sleep(seconds)
    return {kind: round(used / seconds, 4) for kind, used in since(before, server.cpu_s()).items()}


if __name__ == "__main__":
    main(tyro.cli(Settings))
