"""CPU time of a request with keys, limits and audit log against without.

Command: ``python -m bench.scenarios.keys_and_limits``.

Both servers run and are loaded at once, by equally many clients, so that other work of the machine slows
both alike. The ratio is that of the CPU seconds of all processes for each response, turn by turn. The
replica of the network does the same work in both servers, and its CPU time varies by a fifth from turn to
turn, so the mean of both servers counts for it; all other processes are compared.
"""

import asyncio
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro
import uvloop
import yaml
from scipy.stats import t

from bench import results
from bench.http_client import RequestTemplate
from bench.load import LoadGenerator, LoadResult
from bench.random_checkpoint import write_random_checkpoint
from bench.scenarios.in_process import write_photos
from bench.scenarios.interleaved import WARM_UP_S
from bench.scenarios.lesion_http import SKINSERVE, lesion_requests, skinserve_for_clients
from bench.servers import ROOT, RunningServer, Server, cpu_s_between, run_server

OFF, ON = "off", "on"
NETWORK = "LesionClassifier"
UNREACHED_LIMIT = 1_000_000

Servers = dict[str, RunningServer]
Requests = dict[str, Sequence[RequestTemplate]]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure lesion photos over HTTP with and without keys, limits and audit log."""

    size: str = "224 px"
    clients: int = 8
    """Of each server."""
    seconds: float = 6.0
    """Per turn."""
    turns: int = 30
    audit_log: bool = True
    """Write the audit log in the server with keys."""
    out: Path = results.FOLDER


def main(settings: Settings) -> None:
    """Measure, and write ``keys_and_limits.json``."""
    load_before = results.busy_cores()
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        folder = Path(scratch)
        checkpoint = write_random_checkpoint(folder / "lesion")
        photos = write_photos(settings.size, folder / "photos")
        off = skinserve_for_clients(checkpoint, folder, engine="auto", clients=settings.clients)
        on, key = _with_keys(off, folder, audit_log=settings.audit_log)
        plain = lesion_requests(SKINSERVE, settings.size, photos)
        requests: Requests = {OFF: plain, ON: [replace(one, headers={"X-API-Key": key}) for one in plain]}
        servers: Servers = {}
        for name, server in ((OFF, off), (ON, on)):
            servers[name] = stack.enter_context(run_server(server))
        uvloop.run(_load(servers, requests, settings, WARM_UP_S))
        turns = [_cpu_ms(servers, requests, settings) for _ in range(settings.turns)]
    network = [(one[OFF][NETWORK] + one[ON][NETWORK]) / 2 for one in turns]
    off, on = ([one[name]["others"] for one in turns] for name in (OFF, ON))
    summary = summarize(network, off, on)
    print(summary, flush=True)
    metrics = {"cpu_ms_per_request": turns, "summary": summary}
    results.save("keys_and_limits", settings, metrics, load_before=load_before, folder=settings.out)


def summarize(network: Sequence[float], off: Sequence[float], on: Sequence[float]) -> dict[str, float]:
    """Return the median cost of both servers, and the ratio off / on with its lower 95% bound.

    The ratio is the geometric mean over the turns; the interval is Student's, of the logarithms.

    Args:
        network: CPU ms for each response of the network's replica, by turn.
        off: of all other processes, without keys.
        on: the same with keys.
    """
    total_off, total_on = np.add(network, off), np.add(network, on)
    log_ratio = np.log(total_off / total_on)
    error = log_ratio.std(ddof=1) / len(log_ratio) ** 0.5
    lower = log_ratio.mean() - t.ppf(0.975, len(log_ratio) - 1) * error
    return {
        "off_cpu_ms": round(float(np.median(total_off)), 3),
        "on_cpu_ms": round(float(np.median(total_on)), 3),
        "ratio": round(float(np.exp(log_ratio.mean())), 4),
        "ratio_lower_95": round(float(np.exp(lower)), 4),
    }


def _with_keys(server: Server, folder: Path, *, audit_log: bool) -> tuple[Server, str]:
    """Return the same server with one key under a limit that is not reached, and the key."""
    keys_file = folder / "keys.yaml"
    command = [
        str(Path(sys.executable).with_name("skinserve")),
        "keys",
        "add",
        "bench",
        "--file",
        str(keys_file),
    ]
    command += ["--roles", "predict", "--requests-per-second", str(UNREACHED_LIMIT)]
    command += ["--photos-per-day", str(1000 * UNREACHED_LIMIT)]
    key = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    config = yaml.safe_load((folder / f"{SKINSERVE}.yaml").read_text(encoding="utf-8"))
    gateway = config["applications"][0]["args"]["gateway"]
    gateway |= {"keys_file": str(keys_file), "quota_folder": str(folder / "quota")}
    if audit_log:
        gateway["audit_log"] = str(folder / "audit.log")
    file = folder / "skinserve-keys.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [str(file) if part.endswith(f"{SKINSERVE}.yaml") else part for part in server.command]
    return replace(server, name=f"{SKINSERVE} with keys", command=command), key


def _cpu_ms(servers: Servers, requests: Requests, settings: Settings) -> dict[str, dict[str, float]]:
    """Return the CPU ms for each response in one turn, by server, of the network's replica and all others."""
    before = {name: server.cpu_s() for name, server in servers.items()}
    loads = uvloop.run(_load(servers, requests, settings, settings.seconds))
    turn: dict[str, dict[str, float]] = {}
    for name, server in servers.items():
        spent = cpu_s_between(before[name], server.cpu_s())
        num_responses = results.successful(loads[name], server.url)["responses"]
        network = sum(seconds for kind, seconds in spent.items() if NETWORK in kind)
        others = sum(spent.values()) - network
        turn[name] = {NETWORK: 1000 * network / num_responses, "others": 1000 * others / num_responses}
    return turn


async def _load(
    servers: Servers, requests: Requests, settings: Settings, seconds: float
) -> dict[str, LoadResult]:
    """Load all servers at once."""
    loads = await asyncio.gather(
        *(
            LoadGenerator(url=server.url, templates=requests[name], timeout_s=300).closed_loop(
                clients=settings.clients, seconds=seconds
            )
            for name, server in servers.items()
        )
    )
    return dict(zip(servers, loads, strict=True))


if __name__ == "__main__":
    main(tyro.cli(Settings))
