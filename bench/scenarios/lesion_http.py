"""Lesion responses per second over HTTP, against baselines and the in-process upper bound.

Command: ``python -m bench.scenarios.lesion_http``.

One server runs at a time, all of them in each round, so ratios compare measurements of the same minutes. All
servers receive the same multipart forms. The limits of skinserve are raised to admit all clients; by default
it rejects requests beyond two waiting batches.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import httpx
import tyro
import uvloop
import yaml

from bench import results
from bench.baselines.servers import EAGER, lesion_servers
from bench.http_client import RequestTemplate
from bench.load import LoadGenerator
from bench.photos import SIZES, multipart_request
from bench.results import Metrics
from bench.scenarios.in_process import write_photos
from bench.servers import (
    ROOT,
    RunningServer,
    Server,
    cpu_s_between,
    run_server,
    skinserve_server,
)
from models.lesion.processor import num_cores
from models.lesion.runtimes import EngineName
from serve.__main__ import LOCAL_YAML

SKINSERVE, UPPER_BOUND = "skinserve", "in-process upper bound"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure lesion photos over HTTP."""

    checkpoint: Path = ROOT / "weights" / "lesion"
    engine: EngineName = "auto"
    """Engine of skinserve; the baselines run with it and with plain PyTorch."""
    sizes: tuple[str, ...] = tuple(SIZES)
    clients: tuple[int, ...] = (16,)
    """For skinserve also a single client."""
    seconds: float = 6.0
    """Per load."""
    open_loop_share: float = 0
    """Arrival rate of the open loop, as a share of the rate with the most clients; 0: no open loop."""
    rounds: int = 3
    baseline_workers: int = 0
    """Processes of a baseline, which share the cores; 0: one per core."""
    out: Path = results.FOLDER


def main(settings: Settings) -> None:
    """Measure, and write ``lesion_http.json``."""
    load_before = results.busy_cores()
    rounds: list[Metrics] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        checkpoint = settings.checkpoint
        photos = {size: write_photos(size, folder / "photos" / size) for size in settings.sizes}
        workers = settings.baseline_workers or num_cores()
        clients = max(settings.clients, default=1)
        servers = [
            skinserve_for_clients(checkpoint, folder, engine=settings.engine, clients=clients),
            *lesion_servers(checkpoint, "eager", workers=workers),
            *lesion_servers(checkpoint, settings.engine, workers=workers),
        ]
        for number in range(settings.rounds):
            order = results.rotated(servers, number)
            metrics = {server.name: _measure_server(server, photos, settings) for server in order}
            metrics[UPPER_BOUND] = {
                size: _measure_in_process(checkpoint, folder / "photos" / size, settings) for size in photos
            }
            rounds.append(metrics)
            print(metrics, flush=True)
    metrics = {"rounds": rounds, "summary": summary(rounds)}
    results.save("lesion_http", settings, metrics, load_before=load_before, folder=settings.out)


def summary(rounds: list[Metrics]) -> Metrics:
    """Return by photo size: rates by server and number of clients, and ratios round by round."""
    return {size: _summary_of_size(rounds, size) for size in rounds[0][UPPER_BOUND]}


def _summary_of_size(rounds: list[Metrics], size: str) -> Metrics:
    names = [name for name in rounds[0] if name != UPPER_BOUND]
    loads = rounds[0][SKINSERVE][size]
    most_clients = max(loads, key=int)

    def rates(name: str, load: str) -> list[float]:
        return [one[name][size][load]["corrected_per_s"] for one in rounds]

    def best_baseline(*, eager: bool) -> list[float]:
        baselines = [name for name in names if name != SKINSERVE and name.endswith(EAGER) == eager]
        return [
            max(values) for values in zip(*(rates(name, most_clients) for name in baselines), strict=True)
        ]

    skinserve = rates(SKINSERVE, most_clients)
    upper_bound = [one[UPPER_BOUND][size]["per_s"] for one in rounds]
    extra_ms = [
        one[SKINSERVE][size]["1"]["p50_ms"] - one[UPPER_BOUND][size]["single_photo_ms"] for one in rounds
    ]
    return {
        "per_s": {
            load: {name: results.spread(rates(name, load)) for name in names if load in rounds[0][name][size]}
            for load in loads
        },
        "upper_bound_per_s": results.spread(upper_bound),
        "share_of_upper_bound": results.ratios(skinserve, upper_bound),
        "times_best_eager_baseline": results.ratios(skinserve, best_baseline(eager=True)),
        "times_best_baseline_with_engine": results.ratios(skinserve, best_baseline(eager=False)),
        "single_client_extra_ms": results.spread(extra_ms),
    }


def skinserve_for_clients(checkpoint: Path, folder: Path, *, engine: EngineName, clients: int) -> Server:
    """Return skinserve with ``local.yaml``, this network, and limits that admit all clients."""
    config = yaml.safe_load(LOCAL_YAML.read_text(encoding="utf-8"))
    limit = max(24, 2 * clients)
    api = config["applications"][0]
    api["args"]["lesion"] |= {
        "checkpoints": [str(checkpoint)],
        "engine": engine,
        "num_threads": num_cores(),
        "max_photos_per_replica": limit,
        "max_photos_per_gateway": limit,
    }
    return skinserve_server(config, folder, name=SKINSERVE)


def lesion_requests(server_name: str, size: str, photos: list[bytes]) -> list[RequestTemplate]:
    """Return the requests that upload each photo to skinserve or to a baseline."""
    path = "/v1/lesion" if server_name == SKINSERVE else "/predict"
    return [multipart_request(size, path, [photo], field="file") for photo in photos]


def check_usable(url: str, requests: list[RequestTemplate]) -> None:
    """Send each request to skinserve once.

    Raises:
        ValueError: a photo was rejected, so that the measurement would leave out the network.
    """
    for request in requests:
        headers = {"Content-Type": request.content_type}
        answer = httpx.post(url + request.path, content=request.body, headers=headers, trust_env=False)
        if not answer.raise_for_status().json()["usable"]:
            raise ValueError(f"skinserve rejects a photo of the measurement: {answer.json()['reasons']}")


def _measure_server(server: Server, photos: dict[str, list[bytes]], settings: Settings) -> Metrics:
    counts = {1, *settings.clients} if server.name == SKINSERVE else settings.clients
    metrics: Metrics = {}
    with run_server(server) as running:
        for size, photos_of_size in photos.items():
            requests = lesion_requests(server.name, size, photos_of_size)
            if server.name == SKINSERVE:
                check_usable(running.url, requests)
            generator = LoadGenerator(url=running.url, templates=requests, timeout_s=300)
            metrics[size] = {
                str(clients): _measure_load(running, generator, clients, settings)
                for clients in sorted(counts)
            }
    return metrics


def _measure_load(
    server: RunningServer, generator: LoadGenerator, clients: int, settings: Settings
) -> Metrics:
    uvloop.run(generator.closed_loop(clients=clients, seconds=1.0))  # warm up
    before = server.cpu_s()
    result = uvloop.run(generator.closed_loop(clients=clients, seconds=settings.seconds))
    spent = cpu_s_between(before, server.cpu_s())
    metrics = results.successful(result, server.url)
    metrics["cpu_ms_per_photo"] = {
        kind: round(1000 * seconds / metrics["responses"], 3) for kind, seconds in spent.items()
    }
    if settings.open_loop_share and clients == max(settings.clients):
        rate = settings.open_loop_share * metrics["per_s"]
        open_loop = generator.open_loop(rate_per_s=rate, seconds=settings.seconds)
        metrics["open_loop"] = results.summarize(uvloop.run(open_loop))
    return metrics


def _measure_in_process(checkpoint: Path, photos: Path, settings: Settings) -> Metrics:
    command = [sys.executable, "-m", "bench.scenarios.in_process"]
    command += ["--checkpoint", str(checkpoint), "--photos", str(photos)]
    command += ["--engine", settings.engine, "--seconds", str(settings.seconds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main(tyro.cli(Settings))
