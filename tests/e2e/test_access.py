"""Nothing but health answers without a key, however it is asked, on every port of a server with keys."""

import contextlib
import itertools
import json
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import psutil
import pytest
from playwright.sync_api import Browser, expect

from tests.conftest import Server
from tests.e2e.hostile_requests import (
    API_PATHS,
    BODIES,
    HEADERS,
    METHODS,
    PAGE_PATHS,
    TRICKS,
    check_closed,
)
from tests.e2e.keyed_server import CLINIC_KEY as KEY
from tests.e2e.keyed_server import KeyedServer
from tests.e2e.nginx import Nginx, run_nginx
from tests.e2e.raw_http import request, send_all

pytestmark = [pytest.mark.server]

TIMEOUT_MS = 90_000
RAY_CALL, INFER_CALL = "/ray.serve.ASGIService/HandleRequest", "/inference.GRPCInferenceService/ModelInfer"


@pytest.fixture(scope="module")
def keyed_server(keyed: KeyedServer) -> Server:
    return keyed.server


@pytest.fixture(scope="module")
def ports(keyed_server: Server) -> dict[str, int]:
    """HTTP ports of HAProxy, of a gateway, of the page and of Serve's fallback proxy."""
    until = time.monotonic() + 30
    while True:
        found = {"HAProxy": keyed_server.port}
        for process in keyed_server.processes():
            with contextlib.suppress(psutil.NoSuchProcess):  # ended meanwhile
                title = " ".join(process.cmdline()[:1])
                for name in ("api:Gateway", "ui:Page", "ProxyActor"):
                    if name in title and name not in found:
                        own = [one.port for one in _listening(process) if one.ip == "127.0.0.1"]
                        for port in filter(_is_http_port, own):
                            found[name] = port
        if len(found) == 4:
            return found
        assert time.monotonic() < until, found
        time.sleep(0.5)


@pytest.fixture(scope="module")
def nginx(keyed_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with run_nginx(tmp_path_factory.mktemp("nginx"), keyed_server.port) as running:
        yield running


# --- without a key ---


async def test_every_method_of_every_path_is_closed(ports: dict[str, int]):
    paths = API_PATHS + PAGE_PATHS
    requests = {
        f"{method} {path}": request(method, path) for method, path in itertools.product(METHODS, paths)
    }

    await check_closed(ports, requests)


async def test_only_get_and_head_of_health_are_open(ports: dict[str, int]):
    paths = ("/healthz", "/readyz", "/healthz?probe=1", "/v2/health/live", "/v2/health/ready")
    requests = {
        f"{method} {path}": request(method, path) for method, path in itertools.product(METHODS, paths)
    }

    for target in ("HAProxy", "api:Gateway", "ProxyActor"):
        answers = await send_all(ports[target], requests)
        is_open = {name for name, answer in answers.items() if answer.status == 200}
        assert is_open == {f"{method} {path}" for method in ("GET", "HEAD") for path in paths}, target


async def test_no_trick_with_the_path_opens_anything(ports: dict[str, int]):
    requests = {
        f"{method} {path[:80]!r} {len(path)}": request(method, path)
        for method, path in itertools.product(("GET", "POST"), TRICKS)
    }

    await check_closed(ports, requests)


async def test_no_header_opens_anything(ports: dict[str, int]):
    requests = {
        f"{name} {path}": request("GET", path, headers)
        for (name, headers), path in itertools.product(HEADERS.items(), ("/v1/models", "/ui/config"))
    }

    await check_closed(ports, requests)


async def test_no_encoding_or_form_of_a_body_opens_anything(ports: dict[str, int]):
    await check_closed(ports, BODIES)


async def test_what_serve_answers_by_itself_has_no_content(ports: dict[str, int]):
    """HAProxy lists the applications of Serve; docs/operations.md names it."""
    for target, port in ports.items():
        answers = await send_all(port, {path: request("GET", path) for path in ("/-/healthz", "/-/routes")})
        assert b"success" in answers["/-/healthz"].body and len(answers["/-/healthz"].body) < 30, target
        routes = answers["/-/routes"]
        if target == "HAProxy":
            assert json.loads(routes.body) == {"/": "api", "/ui": "ui"}
        else:
            assert routes.status in (401, 404) and b"ui" not in routes.body, target


async def test_a_key_opens_the_same_routes_on_every_port_of_the_api(ports: dict[str, int]):
    for target in ("HAProxy", "api:Gateway", "ProxyActor"):
        answers = await send_all(ports[target], {"": request("GET", "/v1/models", {"X-API-Key": KEY})})
        assert answers[""].status == 200, target


# --- other ports ---


def test_other_machines_reach_no_port_but_the_documented_ones(keyed_server: Server):
    """HAProxy's two ports with numbers of its traffic; gRPC of the replicas and of Serve's fallback proxy."""
    reachable: dict[str, list[int]] = {}
    for process in keyed_server.processes():
        title = "haproxy" if "haproxy" in process.name() else process.cmdline()[0].partition(":api:")[0]
        for one in _listening(process):
            if one.ip.removeprefix("::ffff:") != "127.0.0.1":
                reachable.setdefault(title.partition(":ui:")[0], []).append(one.port)

    assert set(reachable) == {"haproxy", "ray::ServeReplica", "ray::ProxyActor"}
    assert len(set(reachable["haproxy"])) == 2
    for port in set(reachable["haproxy"]):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            texts = [client.get(path).text for path in ("/stats", "/metrics", "/")]
            assert not any("clinic" in text or KEY in text for text in texts)
            change = client.post("/stats", data={"s": "x", "action": "disable", "b": "#2"})
            assert change.status_code >= 400 or change.headers["location"] == "/stats;st=DENY"
    ports = {*reachable["ray::ServeReplica"], *reachable["ray::ProxyActor"]}
    for port, method in itertools.product(ports, (RAY_CALL, INFER_CALL)):
        assert _grpc_error(port, method) in (
            grpc.StatusCode.UNAUTHENTICATED,
            grpc.StatusCode.UNIMPLEMENTED,
            grpc.StatusCode.NOT_FOUND,
        )


def _grpc_error(port: int, method: str) -> grpc.StatusCode:
    """Return the error of a call without a key and without Ray's token."""
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary(method)
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=30, metadata=(("application", "api"),))
    return caught.value.code()  # pyright: ignore[reportAttributeAccessIssue]


# --- behind nginx with TLS ---


def test_tls_key_and_page_work_through_nginx(nginx: Nginx, keyed_server: Server, lesion: bytes):
    with httpx.Client(verify=False, timeout=90, trust_env=False) as client:
        rejected = client.post(f"{nginx.url}/v1/lesion", content=lesion)
        answered = client.post(f"{nginx.url}/v1/lesion", content=lesion, headers={"x-api-key": KEY})
        page = client.get(f"{nginx.url}/ui/")
        routes = client.get(f"{nginx.url}/-/routes")
        direct = client.get(f"{keyed_server.url}/ui/")

    assert (rejected.status_code, answered.status_code) == (401, 200)
    assert (page.status_code, direct.status_code, routes.status_code) == (200, 401, 404)
    assert answered.headers["cache-control"] == "no-store"
    for answer in (rejected, answered, page):
        assert answer.headers["strict-transport-security"].startswith("max-age=")
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'self'" in page.headers["content-security-policy"]


def test_nginx_speaks_no_old_tls(nginx: Nginx):
    host, port = nginx.url.removeprefix("https://").partition("/")[0].split(":")
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE

    with socket.create_connection((host, int(port))) as plain, context.wrap_socket(plain) as tls:
        assert tls.version() in ("TLSv1.2", "TLSv1.3")


@pytest.mark.browser
def test_a_visitor_behind_the_proxy_gets_an_answer_and_no_policy_is_violated(
    nginx: Nginx, chromium: Browser, keyed: KeyedServer
):
    # Chromium registers no service worker under a certificate that it does not trust.
    context = chromium.new_context(ignore_https_errors=True, service_workers="block")
    context.set_default_timeout(TIMEOUT_MS)
    expect.set_options(timeout=TIMEOUT_MS)
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda one: problems.append(one.text) if one.type == "error" else None)
    page.goto(f"{nginx.url}/ui/")

    page.locator("#panel-lesion [data-example]").first.click()
    expect(page.locator("#panel-lesion .answer").get_by_role("heading").first).to_be_visible()
    context.close()

    assert problems == []
    keyed.wait_for_audit_line(caller="page", status=200)


def test_the_audit_log_names_callers_and_no_path(keyed: KeyedServer, lesion: bytes):
    secret = "name-of-a-patient"
    with httpx.Client(base_url=keyed.server.url, timeout=90, trust_env=False) as client:
        key = {"x-api-key": KEY}
        client.get(f"/{secret}?{secret}={secret}", headers=key)
        sent = client.post("/v1/lesion", files={"file": (f"{secret}.jpg", lesion)}, headers=key)

    line = keyed.wait_for_audit_line(request_id=sent.headers["x-request-id"])
    assert (line["caller"], line["method"], line["route"]) == ("key:clinic", "POST", "/v1/lesion")
    lines = keyed.audit_lines()
    assert secret not in json.dumps(lines) and KEY not in json.dumps(lines)
    assert not any(line["route"] in ("/healthz", "/readyz") and line["status"] == 200 for line in lines)


def _listening(process: psutil.Process) -> list[Any]:
    return [one.laddr for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN]


def _is_http_port(port: int) -> bool:
    """Return whether a port is that of HTTP, and not of gRPC."""
    with contextlib.suppress(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5, trust_env=False)
        return True
    return False
