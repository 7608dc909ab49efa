"""JPEG to lesion answer over HTTP, against the peers and the limit.

Command: ``python -m bench.scenarios.lesion_http``.

One server at a time, all of them in every round, so that ratios compare what ran within minutes of each
other. The network is a ResNet50 at 224 px with random weights. Every server gets the same forms; ours is told
to let all clients in, where it would refuse those who wait for more than two batches.
"""

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
import uvloop
import yaml

from bench import results
from bench.baselines.servers import EAGER, classifiers
from bench.load import Shot, closed_loop, open_loop
from bench.photos import SIZES, form
from bench.scenarios.in_process import draw, random_weights
from bench.servers import OURS, ROOT, Running, Server, num_cores, running, since, skinserve
from models.lesion.runtimes import EngineName

SKINSERVE, LIMIT = "skinserve", "limit"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure spots over HTTP."""

    checkpoint: Path | None = None
    """A lesion checkpoint; else random weights."""
    engine: EngineName = "auto"
    """Engine of ours, and inside the peers beside plain PyTorch."""
    sizes: tuple[str, ...] = tuple(SIZES)
    clients: tuple[int, ...] = (16,)
    """Ours is asked by a single client too, for the lonely request."""
    seconds: float = 6.0
    """A load."""
    arrivals: float = 0
    """Share of the rate that a server reached with the most clients, at which photos then arrive in an open
    loop; 0: no open loop."""
    rounds: int = 3
    peer_workers: int = 0
    """Processes of a peer, which share the cores; 0: one a core."""
    out: Path = results.FOLDER


def main(settings: Settings) -> None:
    """Measure, and write ``lesion_http.json``."""
    load_before = results.load_now()
    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        checkpoint = settings.checkpoint or random_weights(folder / "lesion")
        shots = {size: draw(size, folder / "photos" / size) for size in settings.sizes}
        workers = settings.peer_workers or num_cores()
        servers = [
            ours(checkpoint, folder, engine=settings.engine, clients=max(settings.clients, default=1)),
            *classifiers(checkpoint, "eager", workers=workers),
            *classifiers(checkpoint, settings.engine, workers=workers),
        ]
        for number in range(settings.rounds):
            turn = servers[number % len(servers) :] + servers[: number % len(servers)]
            found = {server.name: _round(server, shots, settings) for server in turn}
            found[LIMIT] = {size: _limit(checkpoint, folder / "photos" / size, settings) for size in shots}
            rounds.append(found)
            print(found, flush=True)
    figures = {"rounds": rounds, "summary": summary(rounds)}
    results.save("lesion_http", settings, figures, load_before=load_before, folder=settings.out)


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return by size: rates by server and clients; what stands in issue 4, compared round by round."""
    names = [name for name in rounds[0] if name != LIMIT]
    found: dict[str, Any] = {}
    for size in rounds[0][LIMIT]:
        loads = rounds[0][SKINSERVE][size]

        def rates(name: str, load: str, size: str = size) -> list[float]:
            return [one[name][size][load]["fair_per_s"] for one in rounds]

        def best_peer(load: str, *, eager: bool, size: str = size) -> list[float]:
            peers = [name for name in names if name != SKINSERVE and name.endswith(EAGER) == eager]
            return [max(one[name][size][load]["fair_per_s"] for name in peers) for one in rounds]

        saturated = max(loads, key=int)
        ours = rates(SKINSERVE, saturated)
        limit = [one[LIMIT][size]["per_s"] for one in rounds]
        lonely_ms = [one[SKINSERVE][size]["1"]["p50_ms"] - one[LIMIT][size]["lonely_ms"] for one in rounds]
        found[size] = {
            "per_s": {
                load: {
                    name: results.spread(rates(name, load)) for name in names if load in rounds[0][name][size]
                }
                for load in loads
            },
            "limit_per_s": results.spread(limit),
            "share_of_limit": _ratios(ours, limit),
            "times_best_eager_peer": _ratios(ours, best_peer(saturated, eager=True)),
            "times_best_peer_with_our_engine": _ratios(ours, best_peer(saturated, eager=False)),
            "lonely_extra_ms": results.spread(lonely_ms),
        }
    return found


def _ratios(ones: list[float], others: list[float]) -> dict[str, float]:
    return results.spread([one / other for one, other in zip(ones, others, strict=True)])


def ours(checkpoint: Path, folder: Path, *, engine: EngineName, clients: int) -> Server:
    """Return our server as ``local.yaml`` says, with this network and room for all clients."""
    config = yaml.safe_load((ROOT / "serve" / "local.yaml").read_text(encoding="utf-8"))
    room = 2 * clients
    api = config["applications"][0]
    api["args"]["lesion"] |= {
        "checkpoint": str(checkpoint),
        "engine": engine,
        "num_threads": num_cores(),
        "max_photos_per_replica": max(24, room),
        "max_photos_per_gateway": max(24, room),
    }
    for deployment in api["deployments"]:
        if deployment["name"] == "LesionClassifier":
            deployment |= {"max_ongoing_requests": max(24, room), "max_queued_requests": max(24, room)}
    return skinserve(config, folder, name=SKINSERVE)


def _round(server: Server, shots: dict[str, list[bytes]], settings: Settings) -> dict[str, Any]:
    ours = server.name == SKINSERVE
    clients = sorted({1, *settings.clients} if ours else settings.clients)
    path = "/v1/lesion" if ours else "/predict"
    found: dict[str, Any] = {}
    with running(server) as started:
        for size, photos in shots.items():
            forms = [form(size, path, [photo], field="file") for photo in photos]
            found[size] = {str(number): _load(started, forms, number, settings) for number in clients}
    return found


def _load(server: Running, shots: list[Shot], clients: int, settings: Settings) -> dict[str, Any]:
    for seconds in (1.0, settings.seconds):  # the first warms up
        before = server.cpu_s()
        outcome = uvloop.run(closed_loop(server.url, shots, clients=clients, seconds=seconds, timeout_s=300))
        spent = since(before, server.cpu_s())
    found = results.of_outcome(outcome)
    found["cpu_ms_per_photo"] = {
        kind: round(1000 * seconds / max(found["answers"], 1), 3) for kind, seconds in spent.items()
    }
    if found["errors"] or not found["answers"]:
        raise RuntimeError(f"{server.url} answered {found}; every answer must be 200")
    if settings.arrivals and clients == max(settings.clients):
        rate = settings.arrivals * found["per_s"]
        found["open_loop"] = results.of_outcome(
            uvloop.run(open_loop(server.url, shots, rate_per_s=rate, seconds=settings.seconds, timeout_s=300))
        )
    return found


def _limit(checkpoint: Path, photos: Path, settings: Settings) -> dict[str, Any]:
    command = [
        OURS,
        "-m",
        "bench.scenarios.in_process",
        "--checkpoint",
        str(checkpoint),
        "--photos",
        str(photos),
    ]
    command += ["--engine", settings.engine, "--seconds", str(settings.seconds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main(tyro.cli(Settings))
