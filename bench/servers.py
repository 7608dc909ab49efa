"""Servers started for a measurement: until ready, and ended with all that they started."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

ROOT = Path(__file__).parents[1]
OURS = sys.executable
PEERS = str(ROOT / ".venv-baselines" / "bin" / "python")
START_PATIENCE_S = 300
STOP_PATIENCE_S = 20
SETTLE_PATIENCE_S = 30
QUIET_CPU = 0.2
"""Cores that a server at rest may use; Ray still starts workers when the first answers come."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """How to start one server."""

    name: str
    command: list[str]
    """``{port}`` stands for its port."""
    ready_path: str
    """Answers 200 when the server is ready."""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Running:
    """A server that is ready."""

    url: str
    process: psutil.Process

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU seconds, so far, of each kind of process that the server consists of."""
        spent: defaultdict[str, float] = defaultdict(float)
        for process in (self.process, *self.process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                spent[_kind(process)] += times.user + times.system
        return spent


@contextlib.contextmanager
def running(server: Server) -> Iterator[Running]:
    """Start a server, wait until it is ready, and end it with all its processes.

    Raises:
        RuntimeError: it ended, or was not ready in time; with what it said last.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server does not outlive us
    port = _free_port()
    command = [part.replace("{port}", str(port)) for part in server.command]
    with tempfile.TemporaryFile("w+") as said:
        started = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **server.environment},
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            until = time.monotonic() + START_PATIENCE_S
            while not _answers(url + server.ready_path):
                if started.poll() is not None or time.monotonic() > until:
                    said.seek(0)
                    raise RuntimeError(
                        f"{server.name} is not ready (exit code {started.poll()}); it said: "
                        f"{said.read()[-2000:]}"
                    )
                time.sleep(0.2)
            ready = Running(url=url, process=psutil.Process(started.pid))
            _settle(ready)
            yield ready
        finally:
            _end(started)


def skinserve(config: dict[str, Any], folder: Path, *, name: str = "skinserve") -> Server:
    """Return our server with this Serve config, which is written into ``folder``."""
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return Server(
        name=name,
        command=[OURS, "-m", "serve", "--port", "{port}", "--config", str(file)],
        ready_path="/readyz",
    )


def since(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Return what was added to the CPU seconds of each kind of process."""
    return {kind: seconds - before.get(kind, 0) for kind, seconds in after.items()}


def num_cores() -> int:
    """Return how many cores this process and its children may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def _settle(server: Running) -> None:
    """Wait until the server has finished what it does after its start."""
    until = time.monotonic() + SETTLE_PATIENCE_S
    spent = sum(server.cpu_s().values())
    while time.monotonic() < until:
        time.sleep(1)
        before, spent = spent, sum(server.cpu_s().values())
        if spent - before < QUIET_CPU:
            return


def _end(started: "subprocess.Popen[bytes]") -> None:
    family: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(started.pid).children(recursive=True)
    started.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        started.wait(STOP_PATIENCE_S)
    started.kill()
    started.wait()
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=5)


def _kind(process: psutil.Process) -> str:
    """Name a process by what it does: Ray writes the class into the command line of its workers."""
    line = process.cmdline()
    first = line[0] if line else process.name()
    if first.startswith("ray::"):
        return first.removeprefix("ray::").split(".")[0].split("::")[-1]
    return Path(first).name.split()[0]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
