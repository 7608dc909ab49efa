"""Fixtures of the real server, started once for all tests that use it."""

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol

import psutil
import pytest
import yaml
from hypothesis import settings

ROOT = Path(__file__).parents[1]

for _name in ("no_proxy", "NO_PROXY"):  # for tests behind a company's proxy
    os.environ[_name] = ",".join(
        [*filter(None, [os.environ.get(_name)]), "127.0.0.1", "127.0.0.2", "localhost"]
    )
settings.register_profile("no_deadline", deadline=None)  # examples are slow on a busy machine
settings.load_profile("no_deadline")
PROXY_SECRET = "secret-of-the-proxy-of-the-tests"
START_TIMEOUT_S = 400
STOP_TIMEOUT_S = 15


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options for public data that is not in this repository; without them its tests are skipped."""
    parser.addoption("--lesions", type=Path, help="folder with lesions.csv and the photos that it names")
    parser.addoption("--field", type=Path, help="folder with files of kinds that bug reports name")
    parser.addoption("--ham10000", type=Path, help="folder with HAM10000_metadata.csv and the photos")


def pytest_configure(config: pytest.Config) -> None:
    """Deselect slow tests unless the marker expression names them."""
    expression = config.option.markexpr
    if "slow" not in expression:
        config.option.markexpr = f"({expression}) and not slow" if expression else "not slow"


def pytest_collection_finish() -> None:
    """Exclude imported modules from garbage collection, which takes a quarter of the CPU of some tests."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Compute on one thread in every test: small tensors are slower on two, results differ in the last bits.

    Product code sets the threads of the whole process, and a test must not depend on the one before it.
    """
    if torch := sys.modules.get("torch"):  # tests of the page do without it
        torch.set_num_threads(1)


@dataclass
class Server:
    """A running ``python -m serve``."""

    process: subprocess.Popen[str]
    port: int
    log: Path

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def home(self) -> Path:
        """Folder of all files that the server writes."""
        return _homes(self.processes())[0]

    def output(self) -> str:
        """Everything that the server printed."""
        return self.log.read_text(encoding="utf-8")

    def wait_for(self, text: str) -> None:
        """Wait until the server prints ``text``."""
        until = time.monotonic() + START_TIMEOUT_S
        while text not in self.output():
            assert self.process.poll() is None and time.monotonic() < until, self.output()
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop the server by SIGINT; assert that no process, folder, port or traceback is left."""
        left = self.processes()
        homes = _homes(left)
        self.process.send_signal(signal.SIGINT)
        self.process.wait(STOP_TIMEOUT_S)

        _, alive = psutil.wait_procs(left, timeout=0)
        assert not alive, f"left running: {alive}"
        assert self.process.returncode == 0
        assert "Traceback" not in self.output()
        assert not any(home.exists() for home in homes)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", self.port))

    def replicas(self, deployment: str, application: str = "api") -> list[psutil.Process]:
        """Processes of one deployment."""
        title = f"ServeReplica:{application}:{deployment}"
        return [one for one in self.processes() if any(title in part for part in _command(one)[:1])]

    def processes(self) -> list[psutil.Process]:
        """All processes of the server below the supervisor."""
        return psutil.Process(self.process.pid).children(recursive=True)


class StartServer(Protocol):
    """Start a server."""

    def __call__(
        self,
        config: Path = ...,
        environment: Mapping[str, str] = ...,
        open_files: int | None = None,
        options: Sequence[str] = (),
    ) -> Server:
        """Start a server, with these environment variables, hard limit of open files and options."""
        ...


@pytest.fixture(scope="session")
def other_origin() -> Iterator[str]:
    """Origin of a web site whose pages may call the server."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(ROOT / "ui" / "templates"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as site:
        thread = threading.Thread(target=site.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{site.server_port}"
        site.shutdown()


@pytest.fixture(scope="session")
def server_config(tmp_path_factory: pytest.TempPathFactory, other_origin: str) -> Path:
    """The config file of the servers."""
    return _config(tmp_path_factory, other_origin)


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory, server_config: Path) -> Iterator[StartServer]:
    """Start servers; those still running at the end are killed."""
    started: list[Server] = []

    def start(
        config: Path = server_config,
        environment: Mapping[str, str] = {},
        open_files: int | None = None,
        options: Sequence[str] = (),
    ) -> Server:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        log = tmp_path_factory.mktemp("server") / "output.txt"
        limit = ["sh", "-c", f'ulimit -n {open_files}; exec "$@"', "sh"] if open_files else []
        command = [sys.executable, "-m", "serve", "--port", str(port), "--config", str(config), *options]
        with log.open("w") as output:
            process = subprocess.Popen(
                [*limit, *command],
                cwd=ROOT,
                env=os.environ | environment,
                stdout=output,
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
def server(start_server: StartServer) -> Iterator[Server]:
    """The session's ready server; stopped at the end, which must leave nothing."""
    one = start_server()
    one.wait_for("ready: ")
    yield one
    one.stop()


@pytest.fixture(scope="session")
def server_url(server: Server) -> str:
    """Base URL of the session's server."""
    return server.url


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def _homes(processes: list[psutil.Process]) -> list[Path]:
    """Return the folders of server processes: their last argument."""
    lines = [_command(process) for process in processes]
    return [Path(line[-1]) for line in lines if "serve.runtime.server_process" in line]


def _config(tmp_path_factory: pytest.TempPathFactory, allowed_origin: str) -> Path:
    """Return ``local.yaml`` with two gateways and one page; random weights if there are no others.

    Headers of a proxy are trusted, for tests/e2e/test_reverse_proxy.py. The default is tested in
    tests/serve/runtime/test_forwarded_headers.py and tests/ui/test_site.py.
    """
    from tests.random_checkpoints import write_lesion, write_progress  # imports PyTorch

    config = yaml.safe_load((ROOT / "serve" / "local.yaml").read_text(encoding="utf-8"))
    folder = tmp_path_factory.mktemp("checkpoints")
    api, page = config["applications"]
    api["args"]["gateway"]["allowed_origins"] = [allowed_origin]
    api["args"]["gateway"]["feedback"] = str(folder / "feedback")
    secret = folder / "proxy_secret"
    secret.write_text(PROXY_SECRET, encoding="ascii")
    proxy = {"name": "nginx", "secret_file": str(secret)}
    api["args"]["gateway"]["trusted_proxy"] = page["args"]["trusted_proxy"] = proxy
    for deployment in (*api["deployments"], *page["deployments"]):
        deployment["num_replicas"] = 2 if deployment["name"] == "Gateway" else 1
    for name, write in (("lesion", write_lesion), ("progress", write_progress)):
        if not (ROOT / "weights" / name / "meta.json").is_file():
            api["args"][name]["checkpoints"] = [str(write(folder / name))]
    changed = folder / "local.yaml"
    changed.write_text(yaml.safe_dump(config), encoding="utf-8")
    return changed
