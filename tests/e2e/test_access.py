"""Nothing but health answers without a key, however it is asked, on every port of a server with keys."""

import asyncio
import gzip
import itertools
import json
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest
import yaml
from playwright.sync_api import Browser, expect

from serve.runtime.keys_file import KeyEntry, change_keys, key_digest
from tests.conftest import PROXY_SECRET, ROOT, Server, StartServer
from tests.e2e.nginx import Nginx, run_nginx
from tests.e2e.raw_http import Answer, request, send_all

pytestmark = [pytest.mark.server]

KEY = "key-of-the-clinic"
TIMEOUT_MS = 90_000
METHODS = (
    *("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"),
    *("get", "Post", "PROPFIND", "X-INVENTED"),
)
API_PATHS = (
    *json.loads((ROOT / "tests" / "serve" / "openapi.json").read_text(encoding="utf-8"))["paths"],
    *("/", "/docs", "/docs/static/swagger-ui.css", "/openapi.json", "/favicon.ico", "/robots.txt"),
    *("/v2", "/v2/health/live", "/v2/models/lesion/infer", "/v1", "/nothing", "/metrics", "/stats"),
    *("/internal/route", "/api/serve/applications/", "/gradio_api/upload"),
)
PAGE_PATHS = (
    *(
        "/ui",
        "/ui/",
        "/ui/config",
        "/ui/theme.css",
        "/ui/alive",
        "/ui/logout",
        "/ui/monitoring",
        "/ui/nothing",
    ),
    *("/ui/gradio_api/upload", "/ui/gradio_api/queue/join", "/ui/gradio_api/queue/data?session_hash=x"),
    *("/ui/gradio_api/file=/etc/passwd", "/ui/gradio_api/heartbeat/x", "/ui/gradio_api/info"),
    *("/ui/gradio_api/call/lesion", "/ui/gradio_api/run/predict", "/ui/gradio_api/reset", "/ui/static/fonts"),
)
TRICKS = (
    *("//v1/models", "/./v1/models", "/v1/./models", "/v1//models", "/healthz/../v1/models"),
    *("/%2e%2e/v1/models", "/healthz/%2e%2e/v1/models", "/healthz%2f..%2fv1%2fmodels", "/v1%2fmodels"),
    *("/v1/models/", "/v1/models;a=b", "/healthz;/v1/models", "/V1/Models", "/v1/models%00", "/v1/models%20"),
    *(
        "/healthz%00/../v1/models",
        "/healthz%0d%0aX-API-Key:%20x",
        "/v1/models#/healthz",
        "/healthz/v1/models",
    ),
    *("/healthz?/../v1/models", "/v1/models?/healthz", "/healthz/", "/HEALTHZ", "//healthz", "/healthz%2f"),
    *("/readyz/../docs", "/%252e%252e/v1/models", "/v1/\\models", "/\\v1/models", "*", "v1/models", ""),
    *("http://127.0.0.1/v1/models", "http://evil.example/v1/models", "//evil.example/v1/models"),
    *(
        "/ui/../v1/models",
        "/ui/%2e%2e/v1/models",
        "/ui//config",
        "/ui/;/config",
        "/UI/config",
        "/ui%2fconfig",
    ),
    *("/ui/gradio_api/file=../../../etc/passwd", "/ui/./config", "/-/healthz/../../v1/models"),
    *("/-/routes/", "/-//routes", "/%2d/routes", "/-/", "/v1/models\x00", "/\x00", "/v1/models\xff"),
    *("/" + "a" * 5_000, "/" + "a" * 70_000, "/v1/models?" + "a" * 70_000),
)
HEADERS: dict[str, list[tuple[str, str]]] = {
    "other path": [("X-Original-URL", "/healthz"), ("X-Rewrite-URL", "/healthz"), ("X-Accel-Redirect", "/")],
    "other method": [
        ("X-HTTP-Method-Override", "GET"),
        ("X-HTTP-Method", "GET"),
        ("X-Method-Override", "GET"),
    ],
    "prefix": [
        ("X-Forwarded-Prefix", "/healthz"),
        ("X-Script-Name", "/v1"),
        ("X-Forwarded-Path", "/healthz"),
    ],
    "address": [("X-Forwarded-For", "127.0.0.1"), ("X-Real-IP", "127.0.0.1"), ("Forwarded", "for=127.0.0.1")],
    "host": [("X-Forwarded-Host", "localhost"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Port", "443")],
    "forged secret": [
        ("X-Skinserve-Proxy-Secret", "forged-secret-of-proxy"),
        ("X-Forwarded-For", "10.0.0.1"),
    ],
    "empty secret": [("X-Skinserve-Proxy-Secret", ""), ("X-Forwarded-For", "10.0.0.1")],
    "two secrets": [("X-Skinserve-Proxy-Secret", PROXY_SECRET), ("X-Skinserve-Proxy-Secret", PROXY_SECRET)],
    "empty key": [("Authorization", ""), ("X-API-Key", "")],
    "basic": [("Authorization", "Basic YWRtaW46YWRtaW4=")],
    "no token": [("Authorization", "Bearer")],
    "null": [("Authorization", "Bearer null"), ("X-API-Key", "null")],
    "key and wrong key": [("Authorization", f"Bearer {KEY}"), ("Authorization", "Bearer wrong")],
    "two forms": [("Authorization", f"Bearer {KEY}"), ("X-API-Key", "wrong")],
    "list": [("Authorization", f"Bearer {KEY}, Bearer wrong")],
    "digest": [("Authorization", f"Bearer {key_digest(KEY)}")],
    "part": [("X-API-Key", KEY[:-1])],
    "unsigned token": [("Authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.")],
    "long key": [("Authorization", "Bearer " + "a" * 50_000)],
    "cookie": [("Cookie", f"key={KEY}; access-token={KEY}")],
    "other names": [("Proxy-Authorization", f"Bearer {KEY}"), ("X-Auth-Token", KEY), ("Api-Key", KEY)],
    "underscore": [("X_API_Key", KEY)],
    "hop by hop": [("Connection", "close, X-Forwarded-For, Authorization")],
    "model id": [("serve_multiplexed_model_id", "lesion"), ("serve-multiplexed-model-id", "lesion")],
    "websocket": [
        *(("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13")),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ],
    "http/2": [("Upgrade", "h2c"), ("Connection", "Upgrade, HTTP2-Settings"), ("HTTP2-Settings", "AAMAAABk")],
    "own origin": [("Origin", "http://127.0.0.1"), ("Sec-Fetch-Site", "same-origin")],
}
CHUNKED = b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n2\r\n1}\r\n0\r\n\r\n'
POST = b"POST /v1/lesion HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
HIDDEN = b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
BODIES: dict[str, bytes] = {
    "gzip": request("POST", "/v1/lesion", {"Content-Encoding": "gzip"}, gzip.compress(b"photo" * 1000)),
    "not gzip": request("POST", "/v1/lesion", {"Content-Encoding": "gzip"}, b"photo"),
    "chunked": POST + CHUNKED,
    "bad chunk": POST + CHUNKED.replace(b"\r\n5\r\n", b"\r\nfive\r\n"),
    "expect": request("POST", "/v1/lesion", {"Expect": "100-continue"}, b"photo"),
    "other expectation": request("POST", "/v1/lesion", {"Expect": "200-ok"}, b"photo"),
    "length and chunks": POST + b"Content-Length: 5\r\n" + CHUNKED,
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nphoto",
    "negative length": POST + b"Content-Length: -1\r\n\r\nphoto",
    "hidden request": request("GET", "/healthz", {}, HIDDEN),
    "hidden behind chunks": b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n" + CHUNKED + HIDDEN,
    "http/1.0": b"GET /v1/models HTTP/1.0\r\n\r\n",
    "http/0.9": b"GET /v1/models\r\n\r\n",
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    "folded header": b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX-API-Key:\r\n " + KEY.encode() + b"x\r\n\r\n",
    "no header": b"GET /v1/models HTTP/1.1\r\nConnection: close\r\n\r\n",
    "bytes": bytes(range(256)),
    "nothing": b"\r\n\r\n\r\n",
}


@pytest.fixture(scope="module")
def keyed_server(
    start_server: StartServer, server_config: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server with keys and an audit log, whose page is open through the trusted proxy."""
    folder = tmp_path_factory.mktemp("access")
    keys = [KeyEntry.model_validate({"name": "clinic", "sha256": key_digest(KEY), "roles": ["predict"]})]
    change_keys(folder / "keys.yaml", lambda _: keys)
    config = yaml.safe_load(server_config.read_text(encoding="utf-8"))
    api, page = config["applications"]
    api["args"]["gateway"] |= {
        "keys_file": str(folder / "keys.yaml"),
        "audit_log": str(folder / "audit.log"),
        "allowed_origins": [],
    }
    page["args"]["access"] = "proxy"
    for deployment in api["deployments"]:
        deployment["num_replicas"] = 2 if deployment["name"] == "Gateway" else 1
    (folder / "local.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    server = start_server(folder / "local.yaml")
    server.wait_for("ready: ")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def ports(keyed_server: Server) -> dict[str, int]:
    """HTTP ports of HAProxy, of a gateway, of the page and of Serve's fallback proxy."""
    found = {"HAProxy": keyed_server.port}
    for process in keyed_server.processes():
        title = " ".join(process.cmdline()[:1])
        for name in ("api:Gateway", "ui:Page", "ProxyActor"):
            if name in title:
                found[name] = next(one.port for one in _listening(process) if one.ip == "127.0.0.1")
    assert len(found) == 4
    return found


@pytest.fixture(scope="module")
def nginx(keyed_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with run_nginx(tmp_path_factory.mktemp("nginx"), keyed_server.port) as running:
        yield running


def audit_lines(server: Server) -> list[dict[str, object]]:
    gateway = yaml.safe_load(_config_of(server).read_text(encoding="utf-8"))["applications"][0]["args"][
        "gateway"
    ]
    lines = Path(gateway["audit_log"]).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def wait_for_line(server: Server, **fields: object) -> dict[str, object]:
    """Return the audit line with these values; a thread writes it after the answer."""
    until = time.monotonic() + 30
    while True:
        for line in audit_lines(server):
            if fields.items() <= line.items():
                return line
        assert time.monotonic() < until, f"no line with {fields}"
        time.sleep(0.1)


# --- without a key ---


async def check_closed(ports: Mapping[str, int], requests: Mapping[str, bytes]) -> None:
    """Send requests to every port; fail if any answer has more than an error or the state of health."""
    leaks = {}
    answers_of_targets = await asyncio.gather(*(send_all(port, requests) for port in ports.values()))
    for target, answers in zip(ports, answers_of_targets, strict=True):
        for name, answer in answers.items():
            if not (_is_rejection(answer) or _is_health(answer)):
                leaks[target, name] = (answer.status, answer.body[:200])
    assert leaks == {}, leaks


def _is_rejection(answer: Answer) -> bool:
    if answer.status == 0:
        return answer.body == b""
    if answer.status == 401:
        return "www-authenticate: bearer" in answer.headers and _names_nothing(answer.body)
    if answer.status == 404:  # of Serve or HAProxy: a path of no application of this process; /-/routes
        own = rb"Path '.*' not found\. Ping |no route [A-Z]+ /-/routes; /docs lists all routes"
        return answer.body == b"" or re.search(own, answer.body, re.DOTALL) is not None
    if answer.status == 500:  # of Serve: a WebSocket of another application
        return answer.body == b"Internal Server Error"
    return answer.status in (400, 403, 405, 414, 431, 501) and _names_nothing(answer.body)


def _names_nothing(body: bytes) -> bool:
    """Return whether an error names neither networks nor routes, versions or files."""
    names = (
        b"lesion-",
        b"progress-",
        b"checkpoint",
        b"/v1/",
        b"gradio",
        b"traceback",
        b"root:",
        b'version":',
    )
    return len(body) < 400 and not any(name in body.lower() for name in names)


def _is_health(answer: Answer) -> bool:
    if answer.status not in (200, 503):
        return False
    try:
        return not answer.body or set(json.loads(answer.body)) == {"status", "waiting_for"}
    except ValueError:
        return False


async def test_every_method_of_every_path_is_closed(ports: dict[str, int]):
    paths = API_PATHS + PAGE_PATHS
    requests = {
        f"{method} {path}": request(method, path) for method, path in itertools.product(METHODS, paths)
    }

    await check_closed(ports, requests)


async def test_only_get_and_head_of_health_are_open(ports: dict[str, int]):
    paths = ("/healthz", "/readyz", "/healthz?probe=1")
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
    """HAProxy's two ports with numbers of its traffic; gRPC of the replicas, which needs Ray's token."""
    reachable: dict[str, list[int]] = {}
    for process in keyed_server.processes():
        title = "haproxy" if "haproxy" in process.name() else process.cmdline()[0].partition(":api:")[0]
        for one in _listening(process):
            if one.ip.removeprefix("::ffff:") != "127.0.0.1":
                reachable.setdefault(title.partition(":ui:")[0], []).append(one.port)

    assert set(reachable) == {"haproxy", "ray::ServeReplica"}
    assert len(set(reachable["haproxy"])) == 2
    for port in set(reachable["haproxy"]):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            texts = [client.get(path).text for path in ("/stats", "/metrics", "/")]
            assert not any("clinic" in text or KEY in text for text in texts)
            change = client.post("/stats", data={"s": "x", "action": "disable", "b": "#2"})
            assert change.status_code >= 400 or change.headers["location"] == "/stats;st=DENY"
    for port in reachable["ray::ServeReplica"]:
        assert _grpc_error(port) == grpc.StatusCode.UNAUTHENTICATED


def _grpc_error(port: int) -> grpc.StatusCode:
    """Return the error of a call of a replica without Ray's token."""
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary("/ray.serve.ASGIService/HandleRequest")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=30)
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
    nginx: Nginx, chromium: Browser, keyed_server: Server
):
    context = chromium.new_context(ignore_https_errors=True)
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
    wait_for_line(keyed_server, caller="page", status=200)


def test_the_audit_log_names_callers_and_no_path(keyed_server: Server, lesion: bytes):
    secret = "name-of-a-patient"
    with httpx.Client(base_url=keyed_server.url, timeout=90, trust_env=False) as client:
        key = {"x-api-key": KEY}
        client.get(f"/{secret}?{secret}={secret}", headers=key)
        sent = client.post("/v1/lesion", files={"file": (f"{secret}.jpg", lesion)}, headers=key)

    line = wait_for_line(keyed_server, request_id=sent.headers["x-request-id"])
    assert (line["caller"], line["method"], line["route"]) == ("key:clinic", "POST", "/v1/lesion")
    lines = audit_lines(keyed_server)
    assert secret not in json.dumps(lines) and KEY not in json.dumps(lines)
    assert not any(line["route"] in ("/healthz", "/readyz") and line["status"] == 200 for line in lines)


def test_a_mistake_in_the_keys_file_is_logged_and_changes_nothing(keyed_server: Server):
    """Ray Serve drops lines below its log level; ``RAY_SERVE_LOG_TO_STDERR`` keeps ours."""
    settings = yaml.safe_load(_config_of(keyed_server).read_text(encoding="utf-8"))["applications"][0]["args"]
    file = Path(settings["gateway"]["keys_file"])
    good = file.read_text(encoding="utf-8")
    logs = keyed_server.home / "ray" / "session_latest" / "logs"
    file.write_text("keys: [", encoding="utf-8")
    with httpx.Client(base_url=keyed_server.url, timeout=90, trust_env=False) as client:
        until = time.monotonic() + 30
        while not any(str(file) in one.read_text(errors="replace") for one in logs.glob("worker-*.err")):
            assert client.get("/v1/models", headers={"x-api-key": KEY}).status_code == 200
            assert time.monotonic() < until, "the mistake is not in the log"
            time.sleep(0.2)
    file.write_text(good, encoding="utf-8")


def _listening(process: psutil.Process) -> list[Any]:
    return [one.laddr for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN]


def _config_of(server: Server) -> Path:
    command = psutil.Process(server.process.pid).cmdline()
    return Path(command[command.index("--config") + 1])
