"""What the way of a request costs, without any network behind it: ``python -m bench.scenarios.request_path``.

A body in, its length out: through Ray Serve as our server starts it, bare FastAPI, LitServe and BentoML, one
server at a time, all of them in every round. One process each speaks HTTP.
"""

import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
import uvloop

from bench import results
from bench.baselines.servers import echoes
from bench.load import Shot, closed_loop
from bench.photos import form
from bench.scenarios import echo_app
from bench.servers import Running, Server, running, skinserve

SKINSERVE = "skinserve"
FORMS = ("LitServe", "BentoML")
"""These take files in forms, the others raw bodies."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure the way of a request."""

    kilobytes: tuple[int, ...] = (10, 50, 300, 3000)
    clients: int = 16
    seconds: float = 4.0
    """A load."""
    rounds: int = 3
    out: Path = results.FOLDER


def main(settings: Settings) -> None:
    """Measure, and write ``request_path.json``."""
    load_before = results.load_now()
    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        servers = [skinserve(echo_app.config(), Path(folder), name=SKINSERVE), *echoes()]
        for number in range(settings.rounds):
            turn = servers[number % len(servers) :] + servers[: number % len(servers)]
            rounds.append({server.name: _round(server, settings) for server in turn})
            print(rounds[-1], flush=True)
    figures = {"rounds": rounds, "summary": summary(rounds)}
    results.save("request_path", settings, figures, load_before=load_before, folder=settings.out)


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return rates by size and server, and our share of FastAPI's, compared round by round."""
    rates: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in rounds:
        for name, sizes in one.items():
            for size, found in sizes.items():
                rates[size][name].append(found["fair_per_s"])
    return {
        size: {
            "per_s": {name: results.spread(found) for name, found in by_name.items()},
            "share_of_fastapi": results.spread(
                [ours / bare for ours, bare in zip(by_name[SKINSERVE], by_name["FastAPI"], strict=True)]
            ),
        }
        for size, by_name in rates.items()
    }


def _round(server: Server, settings: Settings) -> dict[str, Any]:
    with running(server) as started:
        return {f"{size} KB": _load(started, server.name, size, settings) for size in settings.kilobytes}


def _load(server: Running, name: str, kilobytes: int, settings: Settings) -> dict[str, Any]:
    body = bytes(1000 * kilobytes)
    if name in FORMS:
        shot = form(name, "/echo", [body], field="file")
    else:
        shot = Shot(name=name, path="/echo", body=body, content_type="application/octet-stream")
    for seconds in (0.5, settings.seconds):  # the first warms up
        outcome = uvloop.run(
            closed_loop(server.url, [shot], clients=settings.clients, seconds=seconds, timeout_s=60)
        )
    return results.of_outcome(outcome)


if __name__ == "__main__":
    main(tyro.cli(Settings))
