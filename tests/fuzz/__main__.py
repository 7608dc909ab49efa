"""``python -m tests.fuzz``: send mutated photos and bodies to a server; report faults, time and memory."""

import asyncio
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import tyro
import yaml

from tests.fuzz.run import Fuzzer
from tests.random_checkpoints import write_lesion, write_progress

_ROOT = Path(__file__).parents[2]
_START_TIMEOUT_S = 400


@dataclass(frozen=True, kw_only=True)
class Options:
    """Send mutated photos and bodies to a server; report faults, time and memory."""

    server: str | None = None
    """URL of a running server; without it, one with random weights is started."""
    files: int = 100_000
    """Mutated files."""
    bodies: int = 20_000
    """Mutated multipart and JSON bodies."""
    seed: int = 1
    """Equal seeds send equal requests."""
    folder: Path = Path(tempfile.gettempdir()) / "skinserve-fuzz"
    """For the inputs of faults, and the log of a started server."""


def main() -> int:
    """Run; the exit status is 1 after a fault."""
    options = tyro.cli(Options)
    options.folder.mkdir(parents=True, exist_ok=True)
    server = nullcontext(options.server) if options.server else _started_server(options.folder)
    with server as url:
        fuzzer = Fuzzer(
            url,
            seed=options.seed,
            num_files=options.files,
            num_bodies=options.bodies,
            folder=options.folder,
        )
        report = asyncio.run(fuzzer.run(lambda text: print(text, flush=True)))
    print(*report.lines(), sep="\n")
    return 1 if report.faults or report.restarted else 0


@contextmanager
def _started_server(folder: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = yaml.safe_load((_ROOT / "serve" / "local.yaml").read_text(encoding="utf-8"))
    arguments = config["applications"][0]["args"]
    arguments["lesion"]["checkpoints"] = [str(write_lesion(folder / "lesion"))]
    arguments["progress"]["checkpoints"] = [str(write_progress(folder / "progress"))]
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    log = folder / "server.txt"
    command = [sys.executable, "-m", "serve", "--port", str(port), "--config", str(folder / "config.yaml")]
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=_ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _wait_until_ready(process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _START_TIMEOUT_S
    while "ready: " not in log.read_text(encoding="utf-8"):
        if process.poll() is not None or time.monotonic() > until:
            raise SystemExit(f"the server did not start; see {log}")
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
