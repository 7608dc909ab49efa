"""The real server, started once for all tests that need it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import yaml
from hypothesis import settings

from tests.random_checkpoints import write_lesion, write_progress

ROOT = Path(__file__).parents[1]

settings.register_profile(
    "patient", deadline=None
)  # how long an example takes says nothing on a busy machine
settings.load_profile("patient")
START_TIMEOUT_S = 400
STOP_TIMEOUT_S = 15


def pytest_addoption(parser: pytest.Parser) -> None:
    """Tests on public data that is not in this repository; without the option they are skipped."""
    parser.addoption("--ham10000", type=Path, help="folder with HAM10000_metadata.csv and the photos")


def pytest_configure(config: pytest.Config) -> None:
    """Leave the slow tests out of whatever is chosen, unless the choice names them."""
    chosen = config.option.markexpr
    if "slow" not in chosen:
        config.option.markexpr = f"({chosen}) and not slow" if chosen else "not slow"


@dataclass
class Server:
    """One start of ``python -m serve``."""

    process: subprocess.Popen[str]
    port: int
    log: Path

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def home(self) -> Path:
        """The folder in which everything lies that it writes."""
        return _homes(self._processes())[0]

    def said(self) -> str:
        """All that it printed."""
        return self.log.read_text(encoding="utf-8")

    def wait_for(self, text: str) -> None:
        """Wait until it prints something."""
        until = time.monotonic() + START_TIMEOUT_S
        while text not in self.said():
            assert self.process.poll() is None and time.monotonic() < until, self.said()
            time.sleep(0.1)

    def stop(self) -> None:
        """Press Ctrl-C, and look that nothing is left: no process, no folder, no port, no traceback."""
        left = self._processes()
        homes = _homes(left)
        self.process.send_signal(signal.SIGINT)
        self.process.wait(STOP_TIMEOUT_S)

        _, alive = psutil.wait_procs(left, timeout=0)
        assert not alive, f"left running: {alive}"
        assert self.process.returncode == 0
        assert "Traceback" not in self.said()
        assert not any(home.exists() for home in homes)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", self.port))

    def replicas(self, deployment: str) -> list[psutil.Process]:
        """The processes of one deployment of the API."""
        title = f"ServeReplica:api:{deployment}"
        return [one for one in self._processes() if any(title in part for part in _command(one)[:1])]

    def _processes(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Server]]:
    """Start servers; whatever a test leaves of them is killed at the end."""
    config = _config(tmp_path_factory)
    started: list[Server] = []

    def start() -> Server:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        log = tmp_path_factory.mktemp("server") / "said.txt"
        with log.open("w") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "serve", "--port", str(port), "--config", str(config)],
                cwd=ROOT,
                stdout=said,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        started.append(Server(process=process, port=port, log=log))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            os.kill(server.process.pid, signal.SIGTERM)
            server.process.wait(60)


@pytest.fixture(scope="session")
def server(start_server: Callable[[], Server]) -> Iterator[Server]:
    """The one server of the session, ready; ended with Ctrl-C at the end, which must leave nothing."""
    one = start_server()
    one.wait_for("ready: ")
    yield one
    one.stop()


@pytest.fixture(scope="session")
def server_url(server: Server) -> str:
    """Where the one server answers."""
    return server.url


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def _homes(processes: list[psutil.Process]) -> list[Path]:
    """Return the folder of the server process, if it is among these; it is named last on its command line."""
    lines = [_command(process) for process in processes]
    return [Path(line[-1]) for line in lines if "serve.runtime.server_process" in line]


def _config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return ``local.yaml`` with two replicas of each deployment; random weights where there are none."""
    config = yaml.safe_load((ROOT / "serve" / "local.yaml").read_text(encoding="utf-8"))
    folder = tmp_path_factory.mktemp("checkpoints")
    api = config["applications"][0]
    for deployment in api["deployments"]:
        deployment["num_replicas"] = 2
    for name, write in (("lesion", write_lesion), ("progress", write_progress)):
        if not (ROOT / "weights" / name / "meta.json").is_file():
            api["args"][name]["checkpoint"] = str(write(folder / name))
    changed = folder / "local.yaml"
    changed.write_text(yaml.safe_dump(config), encoding="utf-8")
    return changed
