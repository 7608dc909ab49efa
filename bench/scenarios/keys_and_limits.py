"""CPU time of a request with keys, limits and audit log against without, interleaved in turns of seconds.

Command: ``python -m bench.scenarios.keys_and_limits``.

Both servers run at once; the one that is not measured is suspended by SIGSTOP, with all its processes. The
ratio is that of the CPU seconds of all processes for each response, turn by turn.
"""

import contextlib
import signal
import statistics
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
from bench.load import LoadGenerator
from bench.random_checkpoint import write_random_checkpoint
from bench.scenarios.in_process import write_photos
from bench.scenarios.interleaved import WARM_UP_S
from bench.scenarios.lesion_http import SKINSERVE, lesion_requests, skinserve_for_clients
from bench.servers import ROOT, RunningServer, Server, run_server

OFF, ON = "off", "on"
UNREACHED_LIMIT = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure lesion photos over HTTP with and without keys, limits and audit log."""

    size: str = "224 px"
    clients: int = 8
    seconds: float = 3.0
    """Per turn."""
    turns: int = 20
    """Of each server."""
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
        requests = {OFF: plain, ON: [replace(one, headers={"X-API-Key": key}) for one in plain]}
        servers: dict[str, RunningServer] = {}
        for name, server in ((OFF, off), (ON, on)):
            servers[name] = stack.enter_context(run_server(server))
            stack.callback(servers[name].send_signal, signal.SIGCONT)  # a suspended process cannot end
            servers[name].send_signal(signal.SIGSTOP)
        turns = [
            {
                name: _cpu_ms(servers[name], requests[name], settings)
                for name in results.rotated([OFF, ON], number)
            }
            for number in range(settings.turns)
        ]
    summary = summarize([one[OFF] for one in turns], [one[ON] for one in turns])
    print(summary, flush=True)
    metrics = {"cpu_ms_per_request": turns, "summary": summary}
    results.save("keys_and_limits", settings, metrics, load_before=load_before, folder=settings.out)


def summarize(off: Sequence[float], on: Sequence[float]) -> dict[str, float]:
    """Return the median cost of both, and the ratio off / on with the lower bound of its 95% interval.

    The ratio is the geometric mean over the turns; the interval is Student's, of the logarithms.
    """
    log_ratio = np.log(np.asarray(off) / np.asarray(on))
    error = log_ratio.std(ddof=1) / len(log_ratio) ** 0.5
    lower = log_ratio.mean() - t.ppf(0.975, len(log_ratio) - 1) * error
    return {
        "off_cpu_ms": round(statistics.median(off), 3),
        "on_cpu_ms": round(statistics.median(on), 3),
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


def _cpu_ms(server: RunningServer, requests: Sequence[RequestTemplate], settings: Settings) -> float:
    """Return the CPU milliseconds of all processes for each response in one turn."""
    generator = LoadGenerator(url=server.url, templates=requests, timeout_s=300)
    server.send_signal(signal.SIGCONT)
    try:
        uvloop.run(generator.closed_loop(clients=settings.clients, seconds=WARM_UP_S))
        before = sum(server.cpu_s().values())
        load = uvloop.run(generator.closed_loop(clients=settings.clients, seconds=settings.seconds))
        spent = sum(server.cpu_s().values()) - before
        return 1000 * spent / results.successful(load, server.url)["responses"]
    finally:
        server.send_signal(signal.SIGSTOP)


if __name__ == "__main__":
    main(tyro.cli(Settings))
