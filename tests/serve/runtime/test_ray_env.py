import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import ray
from ray import _raylet  # pyright: ignore[reportAttributeAccessIssue]

from serve.config import GatewayConfig
from serve.runtime.ray_env import (
    CLUSTER,
    EVERYWHERE,
    LOCAL,
    Variable,
    client_environment,
    local_environment,
)

VARIABLES = (*EVERYWHERE, *CLUSTER, *LOCAL)
RAY = Path(ray.__file__).parent
PYTHON_SOURCES = (
    "serve/_private/constants.py",
    "serve/_private/deployment_state.py",
    "dashboard/modules/reporter/reporter_consts.py",
    "_private/authentication/authentication_token_setup.py",
    "_common/usage/usage_constants.py",
    "_private/ray_constants.py",
)


def test_no_variable_is_listed_twice():
    names = [variable.name for variable in VARIABLES]

    assert len(set(names)) == len(names)
    assert all(variable.why for variable in VARIABLES)


@pytest.mark.parametrize(
    "variable",
    [one for one in VARIABLES if one.name.startswith(("RAY_SERVE_", "REPORTER_"))],
    ids=lambda one: one.name,
)
def test_ray_reads_the_variable_and_has_the_default_that_we_list(variable: Variable):
    """Tried with Ray 2.60."""
    sources = "".join((RAY / path).read_text(encoding="utf-8") for path in PYTHON_SOURCES)
    old_name = r"(?:\s*os\.environ\.get\(\"SERVE_\w+\",)?"
    defaults = re.findall(rf'"{variable.name}",{old_name}\s*"?(\(.*?\) - 1|[^",)\s]+)', sources)

    assert (variable.default or "None") in defaults


def test_ray_reads_the_variables_of_its_core():
    """Tried with Ray 2.60."""
    sources = "".join((RAY / path).read_text(encoding="utf-8") for path in PYTHON_SOURCES)
    core = Path(_raylet.__file__).read_bytes()

    assert '"RAY_AUTH_MODE"' in sources and '"RAY_USAGE_STATS_ENABLED"' in sources
    assert 'ENABLE_RAY_CLUSTERS_ENV_VAR = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"' in sources
    for name in (b"worker_niceness", b"RAY_AUTH_MODE", b"RAY_AUTH_TOKEN_PATH"):
        assert name in core


def test_a_server_has_its_own_token_ports_and_files_and_no_telemetry(tmp_path: Path):
    environment = local_environment(tmp_path, "127.0.0.1")

    token = Path(environment["RAY_AUTH_TOKEN_PATH"])
    assert len(token.read_text()) == 64
    assert oct(token.stat().st_mode & 0o777) == "0o600"
    assert environment["RAY_AUTH_MODE"] == "token"
    assert (environment["RAY_USAGE_STATS_ENABLED"], environment["GRADIO_ANALYTICS_ENABLED"]) == ("0", "False")
    ports = [int(value) for name, value in environment.items() if name.endswith("_PORT")]
    assert len(set(ports)) == len(ports)
    assert not [value for value in environment.values() if "{" in value or "haproxy-serve" in value]
    assert os.environ.get("RAY_AUTH_TOKEN_PATH") != str(token), "only the processes of the server get it"


def test_a_client_finds_the_server_at_the_address_of_its_ports(tmp_path: Path):
    """Without the variable Ray replaces 127.0.0.1, on which the server listens, by the machine's address."""
    server, client = local_environment(tmp_path, "127.0.0.1"), client_environment(tmp_path)

    assert client.items() <= server.items()
    assert client["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"


def test_haproxy_serves_the_hosts_on_which_it_reaches_the_replicas(tmp_path: Path):
    hosts = ("127.0.0.1", "0.0.0.0", "192.0.2.5", "::1")
    values = [local_environment(tmp_path, host).get("RAY_SERVE_ENABLE_HA_PROXY") for host in hosts]

    assert values == (["1", "1", None, None] if sys.platform == "linux" else [None] * 4)


def test_a_replaced_haproxy_completes_the_longest_request():
    values = {variable.name: variable.value for variable in EVERYWHERE}

    longest_s = GatewayConfig().max_deadline_s
    assert int(values["RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"]) > longest_s
    timeouts = {name for name in values if name.startswith("RAY_SERVE_HAPROXY_TIMEOUT_")}
    assert timeouts == {"RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S"}, "it waits for the client, not for an answer"


def test_haproxy_accepts_as_many_connections_as_are_configured(tmp_path: Path):
    environments = [local_environment(tmp_path, "127.0.0.1"), local_environment(tmp_path, "127.0.0.1", 369)]

    assert [one["RAY_SERVE_HAPROXY_MAXCONN"] for one in environments] == ["4096", "369"]


CALL = """
import concurrent.futures, grpc
server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
grpc.channel_ready_future(grpc.insecure_channel(f"127.0.0.1:{port}")).result(timeout=20)
"""
DEAD_PROXY = "http://127.0.0.1:9"


def test_grpc_calls_do_not_go_through_the_proxy_of_the_company(tmp_path: Path):
    """Tried with grpcio 1.85: an empty ``grpc_proxy`` overrides ``http_proxy`` and ``https_proxy``."""
    proxies = {"http_proxy": DEAD_PROXY, "https_proxy": DEAD_PROXY}

    environment = os.environ | proxies | local_environment(tmp_path, "127.0.0.1")

    subprocess.run([sys.executable, "-c", CALL], env=environment, check=True, timeout=60)


def test_socks_proxies_are_dropped_and_http_proxies_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("all_proxy", "socks://127.0.0.1:1080/")
    monkeypatch.setenv("HTTPS_PROXY", "socks5h://127.0.0.1:1080")
    monkeypatch.setenv("http_proxy", DEAD_PROXY)

    environment = os.environ | local_environment(tmp_path, "127.0.0.1")

    assert [environment[name] for name in ("all_proxy", "HTTPS_PROXY", "http_proxy")] == ["", "", DEAD_PROXY]
