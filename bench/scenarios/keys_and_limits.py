"""CPU time of a request with keys, limits and audit log against without.

Command: ``python -m bench.scenarios.keys_and_limits``.

Both servers run and are loaded at once, by equally many clients, so that other work of the machine slows
both alike. The ratio is that of the CPU seconds of all processes for each response, turn by turn. Keys and
limits change the work of ``COMPARED`` only. All other processes, the networks and Ray's own, do the same work
in both servers, and their CPU time varies by a fifth from turn to turn. The mean of both servers counts for
them.
"""

import asyncio
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

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
COMPARED = ("Gateway", "haproxy", "Limiter")
"""Actor classes and programs whose work keys and limits change."""
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
    off, on = ([split(one[name]) for one in turns] for name in (OFF, ON))
    same = [(one.same + other.same) / 2 for one, other in zip(off, on, strict=True)]
    summary = summarize(same, [one.compared for one in off], [one.compared for one in on])
    print(summary, flush=True)
    metrics = {"cpu_ms_per_request": turns, "summary": summary}
    results.save("keys_and_limits", settings, metrics, load_before=load_before, folder=settings.out)


class Cost(NamedTuple):
    """CPU ms for each response."""

    compared: float
    same: float


def split(cost: Mapping[str, float]) -> Cost:
    """Split the cost of a turn, by kind of process."""
    compared = sum(ms for kind, ms in cost.items() if kind.rpartition(":")[2] in COMPARED)
    return Cost(compared, sum(cost.values()) - compared)


def summarize(same: Sequence[float], off: Sequence[float], on: Sequence[float]) -> dict[str, float]:
    """Return the median cost of both servers, and the ratio off / on with its lower 95% bound.

    The ratio is the geometric mean over the turns; the interval is Student's, of the logarithms.

    Args:
        same: CPU ms for each response of the processes whose work is the same, by turn.
        off: of the compared processes, without keys.
        on: the same with keys.
    """
    total_off, total_on = np.add(same, off), np.add(same, on)
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
    """Return the CPU ms for each response in one turn, by server and kind of process."""
    before = {name: server.cpu_s() for name, server in servers.items()}
    loads = uvloop.run(_load(servers, requests, settings, settings.seconds))
    turn: dict[str, dict[str, float]] = {}
    for name, server in servers.items():
        spent = cpu_s_between(before[name], server.cpu_s())
        num_responses = results.successful(loads[name], server.url)["responses"]
        turn[name] = {kind: 1000 * seconds / num_responses for kind, seconds in spent.items()}
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
