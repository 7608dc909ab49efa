"""Start a server for a measurement, wait until it is ready, and stop it with all its processes."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

ROOT = Path(__file__).parents[1]
BASELINES_PYTHON = str(ROOT / ".venv-baselines" / "bin" / "python")
START_TIMEOUT_S = 300
STOP_TIMEOUT_S = 20
IDLE_TIMEOUT_S = 30
IDLE_CORES = 0.2
"""CPU use below which a server is idle; Ray still starts workers after readiness."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """Command that starts one server."""

    name: str
    command: list[str]
    """``{port}`` is replaced by a free port."""
    ready_path: str
    """Responds with 200 when the server is ready."""
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path = ROOT
    """In which it is started."""


@dataclass(frozen=True, kw_only=True)
class RunningServer:
    """Address and main process of a server that is ready."""

    url: str
    process: psutil.Process

    def processes(self) -> list[psutil.Process]:
        """Return the main process and all its descendants."""
        return [self.process, *self.process.children(recursive=True)]

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU seconds so far, by kind of process."""
        spent: defaultdict[str, float] = defaultdict(float)
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                spent[kind_of(process)] += times.user + times.system
        return spent

    def memory_bytes(self) -> int:
        """Return the proportional set size of all processes; shared pages count once."""
        return sum(process.memory_full_info().pss for process in self.processes())

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to all processes, descendants first."""
        main, *descendants = self.processes()
        for process in (*descendants, main):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)


@contextlib.contextmanager
def run_server(
    server: Server, on_ready: Callable[[RunningServer], object] = lambda _: None
) -> Iterator[RunningServer]:
    """Start a server, wait until it is ready and idle, and stop it with all its processes.

    Args:
        server: to start.
        on_ready: called when it is ready, before it is idle.

    Raises:
        RuntimeError: it ended or was not ready in time; with the end of its output.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server ends with this process
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile("w+") as output:
        started = subprocess.Popen(
            [part.replace("{port}", str(port)) for part in server.command],
            cwd=server.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **server.environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            try:
                wait_until_ready(url + server.ready_path, lambda: started.poll() is None)
            except RuntimeError as error:
                output.seek(0)
                code = started.poll()
                raise RuntimeError(
                    f"{server.name}: {error} (exit code {code}); output: {output.read()[-2000:]}"
                ) from error
            ready = RunningServer(url=url, process=psutil.Process(started.pid))
            on_ready(ready)
            _wait_until_idle(ready)
            yield ready
        finally:
            _stop(started)


def wait_until_ready(url: str, is_running: Callable[[], bool] = lambda: True) -> None:
    """Return when ``url`` responds with 200.

    Raises:
        RuntimeError: the server ended, or was not ready in ``START_TIMEOUT_S``.
    """
    until = time.monotonic() + START_TIMEOUT_S
    while True:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, timeout=5, trust_env=False).status_code == 200:
                return
        if not is_running():
            raise RuntimeError("the server ended before it was ready")
        if time.monotonic() > until:
            raise RuntimeError(f"the server was not ready after {START_TIMEOUT_S} s")
        time.sleep(0.2)


def skinserve_server(config: dict[str, Any], folder: Path, *, name: str = "skinserve") -> Server:
    """Return the command for skinserve with a Serve config, which is written to ``folder``."""
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return Server(
        name=name,
        command=[sys.executable, "-m", "serve", "--port", "{port}", "--config", str(file)],
        ready_path="/readyz",
    )


def cpu_s_between(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Return the CPU seconds spent between two calls of ``cpu_s``, by kind of process."""
    return {kind: seconds - before.get(kind, 0) for kind, seconds in after.items()}


def free_port() -> int:
    """Return a free port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_until_idle(server: RunningServer) -> None:
    until = time.monotonic() + IDLE_TIMEOUT_S
    spent = sum(server.cpu_s().values())
    while time.monotonic() < until:
        time.sleep(1)
        before, spent = spent, sum(server.cpu_s().values())
        if spent - before < IDLE_CORES:
            return


def _stop(started: "subprocess.Popen[bytes]") -> None:
    descendants: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        descendants = psutil.Process(started.pid).children(recursive=True)
    started.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        started.wait(STOP_TIMEOUT_S)
    started.kill()
    started.wait()
    for process in descendants:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(descendants, timeout=5)


def kind_of(process: psutil.Process) -> str:
    """Return the actor class of a Ray worker (from its command line), else the program's name."""
    line = process.cmdline()
    first = line[0] if line else process.name()
    if first.startswith("ray::"):
        return first.removeprefix("ray::").split(".")[0].split("::")[-1]
    return Path(first).name.split()[0]
