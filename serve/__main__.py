"""``python -m serve``: both networks, the HTTP API and the page on this machine."""

import errno
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import tyro

from models.errors import SkinserveError, command
from serve.runtime.ray_env import local_environment, uses_haproxy
from serve.runtime.server_process import reachable
from serve.runtime.supervisor import SIGNALS, Start, Supervisor, say

LOCAL_YAML = Path(__file__).with_name("local.yaml")
MIN_FREE_BYTES = 3_500_000_000  # 3.2 GB at rest, measured


@dataclass(frozen=True, kw_only=True)
class Options:
    """Serve both networks, the HTTP API and the page on this machine.

    Research software, not a medical device.
    """

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for every network of this machine."""
    port: int = 8000
    """Port of the API and the page."""
    config: Path = LOCAL_YAML
    """Ray Serve config file: applications, replicas, CPUs, checkpoints."""


@command("skinserve serve")
def main(prog: str, arguments: Sequence[str] | None) -> int:
    """Check the settings, then start the server and supervise it."""
    options = tyro.cli(Options, args=arguments, prog=prog)
    if options.host == "localhost":
        options = replace(options, host="127.0.0.1")
    error = preflight_error(options)
    if error:
        raise SkinserveError(error)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until the supervisor can clear up after them
    home = Path(tempfile.mkdtemp(prefix="skinserve-", dir=_short_temp_folder()))
    (home / "tmp").mkdir()
    start = Start(
        command=[
            sys.executable,
            "-m",
            "serve.runtime.server_process",
            str(options.config),
            options.host,
            str(options.port),
            str(home),
        ],
        environment=os.environ | local_environment(home, options.host),
        home=home,
        host=reachable(options.host),
        port=options.port,
    )
    say(f"starting on http://{start.host}:{start.port}, this takes up to a minute")
    if not uses_haproxy(options.host):
        say(f"on {options.host} Ray Serve's own proxy answers, slower than HAProxy on 127.0.0.1 or 0.0.0.0")
    return Supervisor(start).run()


def preflight_error(options: Options) -> str | None:
    """Return in one line why the server cannot start, or None."""
    if not options.config.is_file():
        return f"there is no config file {options.config}; leave --config out to take {LOCAL_YAML.name}"
    free = _free_memory_bytes()
    if free < MIN_FREE_BYTES:
        return (
            f"{free / 1e9:.1f} GB of memory are free, {MIN_FREE_BYTES / 1e9:g} GB are needed; "
            "close other programs and try again"
        )
    if not 1 <= options.port <= 65535:
        return f"{options.port} is no port; choose one from 1024 to 65535: PORT=8000 make serve"
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((options.host, options.port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            other = options.port + 1 if options.port < 65535 else 8000
            return f"port {options.port} on {options.host} is taken; choose another: PORT={other} make serve"
        if error.errno in (errno.EACCES, errno.EPERM):
            return f"port {options.port} needs more rights; choose one above 1023: PORT=8000 make serve"
        return (
            f"{options.host} is no address of this machine ({error.strerror}); try HOST=127.0.0.1 make serve"
        )
    return None


def _free_memory_bytes() -> int:
    """What the server may take, by the machine and by the limit of its container."""
    free = psutil.virtual_memory().available
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else ""
    return min(free, int(text)) if text.isdigit() else free


def _short_temp_folder() -> str | None:
    """Sockets have paths of at most 107 characters; a long TMPDIR leaves too few."""
    return "/tmp" if os.access("/tmp", os.W_OK) else None


if __name__ == "__main__":
    sys.exit(main())
