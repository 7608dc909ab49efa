"""``python -m serve``: serve both networks, the HTTP API and the page on this machine."""

import errno
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from models.errors import SkinserveError, command
from serve.runtime import machine_limits
from serve.runtime.ray_env import local_environment, uses_haproxy
from serve.runtime.server_process import local_address
from serve.runtime.supervisor import STOP_SIGNALS, LaunchSpec, Supervisor, print_status

LOCAL_YAML = Path(__file__).with_name("local.yaml")
COMPOSED_YAML = LOCAL_YAML.with_name("composed.yaml")
MIN_FREE_BYTES = 3_500_000_000
"""A server at rest takes 1.6 GB on a processor without VNNI, more with int8 by oneDNN and while it starts."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Serve both networks, the HTTP API and the page on this machine.

    Research software, not a medical device.
    """

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for every network of this machine."""
    port: int = 8000
    """Port of the API and the page."""
    grpc_port: int | None = None
    """Port of the Open Inference Protocol over gRPC; default: no gRPC."""
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
    connections = machine_limits.haproxy_connections(machine_limits.raise_open_files_limit())
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # until the supervisor handles them
    home = machine_limits.make_home()
    spec = LaunchSpec(
        command=[
            sys.executable,
            "-m",
            "serve.runtime.server_process",
            str(options.config),
            options.host,
            str(options.port),
            str(options.grpc_port or 0),
            str(home),
        ],
        environment=os.environ | local_environment(home, options.host, connections),
        home=home,
        host=local_address(options.host),
        port=options.port,
    )
    print_status(f"starting on http://{spec.host}:{spec.port}, this takes up to a minute")
    if connections < machine_limits.HAPROXY_CONNECTIONS:
        print_status(f"at most {connections} connections: the limit of open files (ulimit -n) is low")
    if options.grpc_port is not None:
        print_status(f"gRPC on {spec.host}:{options.grpc_port}")
    if not uses_haproxy(options.host):
        print_status(f"{options.host} is served by Ray Serve's proxy, slower than HAProxy on 127.0.0.1")
    return Supervisor(spec).run()


def preflight_error(options: Options) -> str | None:
    """Return in one line why the server cannot start, or None."""
    if not options.config.is_file():
        return f"there is no config file {options.config}; leave --config out to take {LOCAL_YAML.name}"
    free = machine_limits.free_memory_bytes()
    if free < MIN_FREE_BYTES:
        return (
            f"{free / 1e9:.1f} GB of memory are free, {MIN_FREE_BYTES / 1e9:g} GB are needed; "
            "close other programs and try again"
        )
    error = _port_error(options.host, options.port)
    if error is None and options.grpc_port is not None:
        error = _grpc_error(options) or _port_error(options.host, options.grpc_port)
    return error


def _grpc_error(options: Options) -> str | None:
    if options.grpc_port == options.port:
        return f"--port and --grpc-port are both {options.port}; choose another one"
    if not uses_haproxy(options.host):
        return f"--grpc-port needs HAProxy, which does not serve {options.host}; try --host 127.0.0.1"
    return None


def _port_error(host: str, port: int) -> str | None:
    """Return in one line why the server cannot listen on a port, or None."""
    if not 1 <= port <= 65535:
        return f"{port} is not a port; choose one from 1024 to 65535: PORT=8000 make serve"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            other = port + 1 if port < 65535 else 8000
            return f"port {port} on {host} is taken; choose another: PORT={other} make serve"
        if error.errno in (errno.EACCES, errno.EPERM):
            return f"port {port} needs root; choose one above 1023: PORT=8000 make serve"
        problem = f"{host} is not an address of this machine ({error.strerror})"
        return f"{problem}; try HOST=127.0.0.1 make serve"
    return None


if __name__ == "__main__":
    sys.exit(main())
