"""Environment variables that we set for Ray, HAProxy and the page: name, value, default, reason.

Ray reads them when it is imported or started, so they are set before. Most are undocumented. Names and
defaults are those of Ray 2.60; a test compares them with the installed Ray.
"""

import os
import secrets
import socket
import sys
from pathlib import Path
from typing import NamedTuple

from serve.runtime.machine_limits import HAPROXY_CONNECTIONS

HAPROXY_HOSTS = ("127.0.0.1", "0.0.0.0")
"""Hosts that HAProxy can serve: it reaches the replicas, which listen on the same host, at 127.0.0.1."""
MAX_GRPC_MESSAGE_BYTES = 64_000_000
"""Message of the Open Inference Protocol over gRPC; REST routes accept more."""
LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""At 0 the address of the node is 127.0.0.1, as on macOS."""


class Variable(NamedTuple):
    """Define one environment variable."""

    name: str
    value: str
    """``{home}`` is the folder of the server, ``{free_port}`` an unused port, ``{connections}`` a limit."""
    default: str | None
    """Of the program that reads the variable; None if it has none."""
    why: str


EVERYWHERE = (
    Variable("RAY_SERVE_ENABLE_HA_PROXY", "1", "0", "11 times the requests/s of Serve's own proxy"),
    Variable("RAY_SERVE_ENABLE_DIRECT_INGRESS", "1", "0", "HAProxy connects to the gateways"),
    Variable("RAY_SERVE_THROUGHPUT_OPTIMIZED", "1", "0", "replicas run on one event loop"),
    Variable("RAY_SERVE_LOG_TO_STDERR", "1", "0", "else a log level of WARNING drops all lines of ours"),
    Variable("RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S", "75", "3600", "closes idle connections"),
    Variable("RAY_SERVE_HAPROXY_TUNE_BUFSIZE", "69632", "16384", "64 KiB of headers, as with single sign-on"),
    Variable("FORWARDED_ALLOW_IPS", "", "127.0.0.1,::1", "uvicorn would trust HAProxy, hence any client"),
    Variable(
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S",
        "610",
        "120",
        "a request may take 600 s; the HAProxy that a reload replaces completes it",
    ),
    Variable(
        "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE",
        str(MAX_GRPC_MESSAGE_BYTES),
        "(2 * 1024 * 1024 * 1024) - 1",
        "a message is in memory before its key is checked",
    ),
    Variable("grpc_proxy", "", None, "calls between replicas would go through the proxy of http_proxy"),
    Variable(
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH",
        "serve.runtime.admission.serve_middlewares",
        None,
        "request id and load shedding around Serve's HTTP layer",
    ),
    Variable("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "60", "5.0", "a proxy that imports slowly is killed"),
    Variable("RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S", "60", "10.0", "a proxy on a busy machine is killed"),
    Variable("RAY_SERVE_MAX_PER_REPLICA_RETRY_COUNT", "2", "3", "a bad checkpoint fails the start sooner"),
    Variable("RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS", "1", "0", "a stuck engine never ends its batch"),
    Variable("RAY_worker_niceness", "0", "15", "at 15 any busy program starves the server"),
    Variable("RAY_AUTH_MODE", "token", "disabled", "Ray's ports listen on all interfaces"),
    Variable("RAY_USAGE_STATS_ENABLED", "0", "1", "no telemetry"),
    Variable("GRADIO_ANALYTICS_ENABLED", "False", "True", "no telemetry"),
    Variable("HF_HUB_OFFLINE", "1", "0", "nothing is loaded from another host"),
)
"""On one machine and on every node of a cluster."""
CLUSTER = (
    Variable("RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S", "1", "10.0", "scale up within seconds"),
    Variable("RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S", "1", "10.0", "scale up within seconds"),
    Variable("NVIDIA_VISIBLE_DEVICES", "all", None, "NVIDIA's container toolkit then adds the GPU"),
    Variable("NVIDIA_DRIVER_CAPABILITIES", "compute,utility", None, "CUDA and nvidia-smi in the container"),
)
"""Only on the nodes of a cluster; deploy/Dockerfile sets EVERYWHERE and these."""
LOCAL = (
    Variable("RAY_AUTH_TOKEN_PATH", "{home}/token", None, "a new token at each start"),
    Variable(LOOPBACK, "0", "1", "Ray's ports listen on 127.0.0.1 only"),
    Variable("RAY_SERVE_FALLBACK_PROXY_HTTP_PORT", "{free_port}", "8500", "one for each server"),
    Variable("RAY_SERVE_FALLBACK_PROXY_GRPC_PORT", "{free_port}", "9500", "one for each server"),
    Variable("RAY_SERVE_HAPROXY_STATS_PORT", "{free_port}", "8404", "one for each server"),
    Variable("RAY_SERVE_HAPROXY_METRICS_PORT", "{free_port}", "9101", "one for each server"),
    Variable("RAY_SERVE_HAPROXY_METRICS_ENABLED", "0", "1", "no Prometheus reads them"),
    Variable(
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC",
        "{home}/h.cfg",
        "/tmp/haproxy-serve/haproxy.cfg",
        "one for each server",
    ),
    Variable(
        "RAY_SERVE_HAPROXY_SOCKET_PATH",
        "{home}/h.sock",
        "/tmp/haproxy-serve/admin.sock",
        "one for each server",
    ),
    Variable(
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH",
        "{home}/m.sock",
        "/tmp/haproxy-serve/metrics.sock",
        "one for each server",
    ),
    Variable("RAY_SERVE_HAPROXY_SERVER_STATE_BASE", "{home}", "/tmp/haproxy-serve", "one for each server"),
    Variable(
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE",
        "{home}/h.state",
        "/tmp/haproxy-serve/server-state",
        "one for each server",
    ),
    Variable(
        "RAY_SERVE_HAPROXY_LOG_TARGET",
        "{home}/h.log",
        "127.0.0.1:514",
        "no listener: no client address is logged",
    ),
    Variable("RAY_SERVE_HAPROXY_NBTHREAD", "2", "4", "leaves the cores to the models"),
    Variable("RAY_SERVE_HAPROXY_MAXCONN", "{connections}", "4096", "HAProxy ends if ulimit -n is too low"),
    Variable("RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S", "1", "30", "a stop takes at most 6 s"),
    Variable("RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S", "1", "30.0", "a stop takes at most 6 s"),
    Variable("RAY_SERVE_CONTROL_LOOP_INTERVAL_S", "0.5", "0.1", "at 0.1 it takes 4% of a core"),
    Variable("RAY_SERVE_METRICS_EXPORT_INTERVAL_MS", "5000", "100", "Ray itself exports every 10 s"),
    Variable("REPORTER_UPDATE_INTERVAL_MS", "60000", "5000", "no dashboard reads the reports"),
    Variable("PYTHONUNBUFFERED", "1", None, "the supervisor reads the log as it is written"),
    Variable("PYTHONDONTWRITEBYTECODE", "", None, "a dozen processes import the same packages"),
    Variable("TMPDIR", "{home}/tmp", "/tmp", "deleted with the server's folder"),
)
"""Only for ``python -m serve``: a short stop, few background tasks, nothing shared by two servers."""
SEVERAL_NODES = {LOOPBACK: "1"}
"""Overrides ``LOCAL`` for a cluster of several nodes."""


def uses_haproxy(host: str) -> bool:
    """Return whether HAProxy serves this host on this platform; otherwise Serve's own proxy does."""
    return sys.platform == "linux" and host in HAPROXY_HOSTS


def local_environment(home: Path, host: str, connections: int = HAPROXY_CONNECTIONS) -> dict[str, str]:
    """Return the environment of one server on this machine, and write its token into ``home``.

    It must be set before Ray starts; all processes of the server inherit it.

    Args:
        home: folder of the server.
        host: address to listen on.
        connections: at most accepted by HAProxy.
    """
    token = home / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    variables = [one for one in EVERYWHERE + LOCAL if uses_haproxy(host) or not _is_of_haproxy(one.name)]
    ports = _free_ports(len(variables))
    return without_socks_proxies() | {
        variable.name: variable.value.format(home=home, free_port=port, connections=connections)
        for variable, port in zip(variables, ports, strict=True)
    }


def without_socks_proxies() -> dict[str, str]:
    """Return empty values for the proxy variables that name a SOCKS proxy.

    No client of ours can use one: boto3 rejects it, and the import of Gradio fails (httpx without socksio).
    """
    return {
        name: ""
        for name, value in os.environ.items()
        if name.lower().endswith("_proxy") and value.lower().startswith("socks")
    }


def client_environment(home: Path) -> dict[str, str]:
    """Return what a process needs to connect to the Ray of the server in ``home``."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(home / "token"),
        LOOPBACK: "0",  # else Ray replaces 127.0.0.1 by the address of the machine
    }


def _is_of_haproxy(name: str) -> bool:
    return name.startswith(("RAY_SERVE_ENABLE_", "RAY_SERVE_THROUGHPUT_", "RAY_SERVE_HAPROXY_"))


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for one in sockets:
            one.bind(("", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
