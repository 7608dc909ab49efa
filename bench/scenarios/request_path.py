"""Cost of the request path without a network: ``python -m bench.scenarios.request_path``.

Each server responds with the size of the body: Ray Serve as started by skinserve, FastAPI, LitServe and
BentoML. One server runs at a time, all of them in each round. In each, one process handles HTTP.
"""

import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import tyro
import uvloop

from bench import results
from bench.baselines.servers import echo_servers
from bench.http_client import RequestTemplate
from bench.load import LoadGenerator
from bench.photos import multipart_request
from bench.results import Metrics
from bench.scenarios import echo_app
from bench.servers import Server, run_server, skinserve_server

SKINSERVE = "skinserve"
MULTIPART_SERVERS = ("LitServe", "BentoML")
"""They take files in forms; the others take raw bodies."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure the request path."""

    kilobytes: tuple[int, ...] = (10, 50, 300, 3000)
    clients: int = 16
    seconds: float = 4.0
    """Per load."""
    rounds: int = 3
    out: Path = results.FOLDER


def main(settings: Settings) -> None:
    """Measure, and write ``request_path.json``."""
    load_before = results.busy_cores()
    rounds: list[Metrics] = []
    with tempfile.TemporaryDirectory() as folder:
        servers = [skinserve_server(echo_app.config(), Path(folder), name=SKINSERVE), *echo_servers()]
        for number in range(settings.rounds):
            order = results.rotated(servers, number)
            rounds.append({server.name: _measure_server(server, settings) for server in order})
            print(rounds[-1], flush=True)
    metrics = {"rounds": rounds, "summary": summary(rounds)}
    results.save("request_path", settings, metrics, load_before=load_before, folder=settings.out)


def summary(rounds: list[Metrics]) -> Metrics:
    """Return rates by body size and server, and the ratio of skinserve to FastAPI, round by round."""
    rates: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in rounds:
        for name, sizes in one.items():
            for size, load in sizes.items():
                rates[size][name].append(load["corrected_per_s"])
    return {
        size: {
            "per_s": {name: results.spread(values) for name, values in by_name.items()},
            "share_of_fastapi": results.ratios(by_name[SKINSERVE], by_name["FastAPI"]),
        }
        for size, by_name in rates.items()
    }


def _measure_server(server: Server, settings: Settings) -> Metrics:
    metrics: Metrics = {}
    with run_server(server) as running:
        for size in settings.kilobytes:
            generator = LoadGenerator(url=running.url, templates=[_request(server.name, size)])
            for seconds in (0.5, settings.seconds):  # the first warms up
                result = uvloop.run(generator.closed_loop(clients=settings.clients, seconds=seconds))
            metrics[f"{size} KB"] = results.summarize(result)
    return metrics


def _request(server_name: str, kilobytes: int) -> RequestTemplate:
    body = bytes(1000 * kilobytes)
    if server_name in MULTIPART_SERVERS:
        return multipart_request(server_name, "/echo", [body], field="file")
    return RequestTemplate(name=server_name, path="/echo", body=body, content_type="application/octet-stream")


if __name__ == "__main__":
    main(tyro.cli(Settings))
