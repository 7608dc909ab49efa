"""``python -m serve``: both networks, the HTTP API and the page on this machine."""

import errno
import os
import secrets
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
from serve.runtime.server_process import reachable
from serve.runtime.supervisor import SIGNALS, Start, Supervisor, say

LOCAL_YAML = Path(__file__).with_name("local.yaml")
MIN_FREE_BYTES = 3_500_000_000  # 3.2 GB at rest, measured
NUM_HELPER_PORTS = 3
HAPROXY_HOSTS = ("127.0.0.1", "0.0.0.0")
"""Replicas listen on the same address as HAProxy, which asks them at 127.0.0.1. Others: Serve's own proxy."""
HAPROXY = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_ENABLE_DIRECT_INGRESS": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "75",  # an hour unless told, for a client that says nothing
}
EVERYWHERE = {
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve.runtime.admission.serve_middlewares",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_MAX_PER_REPLICA_RETRY_COUNT": "2",
    "RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS": "1",  # one whose engine hangs never ends what it has begun
    "RAY_worker_niceness": "0",  # 15 unless told, and then any other busy program starves the server
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
}
"""What Ray and the page need on one machine and, by ``deploy/Dockerfile``, on every node of a cluster."""
QUIET = {
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",  # 0.1 unless told, and then it takes 4% of a core
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "5000",  # 100 unless told, though Ray exports every 10 s
    "REPORTER_UPDATE_INTERVAL_MS": "60000",  # 5000 unless told, for a dashboard that is not there
}
"""So that Ray leaves the cores of one machine to the networks while it has nothing to do."""


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
        environment=os.environ | environment(home, options.host),
        home=home,
        host=reachable(options.host),
        port=options.port,
    )
    say(f"starting on http://{start.host}:{start.port}, this takes up to a minute")
    if options.host not in HAPROXY_HOSTS:
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


def environment(home: Path, host: str) -> dict[str, str]:
    """Return what must be in the environment before Ray starts; every process of the server inherits it."""
    token = home / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    stats, metrics, fallback = _free_ports(NUM_HELPER_PORTS)
    haproxy = {
        **HAPROXY,
        # Unless told, two servers on one machine would share HAProxy's own ports and its files.
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(home / "h.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(home / "h.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(home / "m.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(home),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(home / "h.state"),
        "RAY_SERVE_HAPROXY_LOG_TARGET": str(home / "h.log"),  # nobody listens there: no address is logged
        "RAY_SERVE_HAPROXY_NBTHREAD": "2",
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "10",
    }
    return {
        **(haproxy if sys.platform == "linux" and host in HAPROXY_HOSTS else {}),
        **EVERYWHERE,
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback),
        **QUIET,
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": "1",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "",  # a dozen processes import the same packages; compile them once
        "TMPDIR": str(home / "tmp"),
    }


def _free_memory_bytes() -> int:
    """What the server may take, by the machine and by the limit of its container."""
    free = psutil.virtual_memory().available
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else ""
    return min(free, int(text)) if text.isdigit() else free


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for one in sockets:
            one.bind(("", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _short_temp_folder() -> str | None:
    """Sockets have paths of at most 107 characters; a long TMPDIR leaves too few."""
    return "/tmp" if os.access("/tmp", os.W_OK) else None


if __name__ == "__main__":
    sys.exit(main())
