"""The real server behind nginx with the configuration of docs/operations.md: prefix, TLS, another port."""

import io
import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.conftest import PROXY_SECRET, ROOT, Server

pytestmark = [pytest.mark.server]

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
TIMEOUT_MS = 90_000  # a busy machine with two cores
DEFAULTS = """
    server {{
        listen 127.0.0.1:{port};
        location /plain/ {{
            proxy_pass http://127.0.0.1:8000/;
            proxy_set_header X-Forwarded-Prefix /plain;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            include /etc/nginx/skinserve-secret.conf;
        }}
    }}
"""
"""nginx with its defaults, which buffer responses and speak HTTP/1.0 to the server."""


@dataclass
class Proxy:
    """A running nginx in front of the session's server."""

    url: str
    """With TLS and the prefix."""
    plain_url: str
    """With another prefix and the defaults of nginx."""


@pytest.fixture(scope="module")
def proxy(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    if NGINX is None or shutil.which("openssl") is None:
        pytest.skip("no nginx or no openssl here: apt-get install nginx openssl")
    folder = tmp_path_factory.mktemp("nginx")
    port, plain_port = _free_ports(2)
    _write_config(folder, server.port, port, plain_port)
    nginx = subprocess.Popen([NGINX, "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"])
    try:
        for one in (port, plain_port):
            _wait_until_open(nginx, one)
        yield Proxy(url=f"https://127.0.0.1:{port}/skin", plain_url=f"http://127.0.0.1:{plain_port}/plain")
    finally:
        nginx.terminate()
        nginx.wait(10)


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(verify=False, timeout=90, trust_env=False) as client:
        yield client


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Callable[[str], Page]]:
    """Open addresses; a failed or foreign request and an error in the console fail the test."""
    context = chromium.new_context(ignore_https_errors=True)
    context.set_default_timeout(TIMEOUT_MS)
    expect.set_options(timeout=TIMEOUT_MS)
    problems: list[str] = []

    def open_(url: str) -> Page:
        page = context.new_page()
        page.on("console", lambda one: problems.append(one.text) if one.type == "error" else None)
        page.on("response", lambda one: problems.append(one.url) if one.status >= 400 else None)
        page.on("request", lambda one: None if _is_under(one.url, url) else problems.append(one.url))
        page.goto(f"{url}/")
        return page

    yield open_
    context.close()
    assert problems == []


def test_redirects_and_openapi_have_the_prefix(proxy: Proxy, http: httpx.Client):
    for url, prefix in ((proxy.url, "/skin"), (proxy.plain_url, "/plain")):
        pages = [http.get(f"{url}{path}", follow_redirects=True) for path in ("", "/", "/ui")]

        assert [str(page.url) for page in pages] == [f"{url}/ui/"] * 3
        assert all(page.status_code == 200 for page in pages)
        assert http.get(f"{url}/openapi.json").json()["servers"] == [{"url": prefix}]


def test_the_processes_of_the_server_trust_no_address(server: Server):
    """Tests of single processes check the effect: test_forwarded_headers.py, tests/ui/test_site.py."""
    for replica in server.replicas("Gateway"):
        assert replica.environ()["FORWARDED_ALLOW_IPS"] == ""


def test_headers_of_single_sign_on_are_served(server: Server, proxy: Proxy, http: httpx.Client):
    many = {f"x-header-{index:02}": "a" * 600 for index in range(90)}

    for url in (server.url, proxy.url):
        for headers in ({"cookie": "a" * 17_000}, {"cookie": "a" * 63_000}, many):
            for path in ("/healthz", "/ui/", "/ui/config"):
                assert http.get(url + path, headers=headers).status_code == 200, (path, headers)
    too_many = {f"x-header-{index:03}": "a" for index in range(101)}
    assert http.get(server.url, headers=too_many).status_code == 400


def test_a_batch_streams_through_the_defaults_of_nginx(proxy: Proxy, http: httpx.Client):
    slow = io.BytesIO()  # slow photos are decoded one by one
    Image.new("L", (6500, 6500), "gray").save(slow, "PNG")
    files = [("files", (f"{index}.png", slow.getvalue())) for index in range(4)]
    arrived_s: list[float] = []

    with http.stream("POST", f"{proxy.plain_url}/v1/lesion/batch", files=files) as answer:
        for line in answer.iter_lines():
            assert "result" in json.loads(line)
            arrived_s.append(time.monotonic())

    assert len(arrived_s) == 4
    assert arrived_s[-1] - arrived_s[0] > 0.1, "all lines came at once"


@pytest.mark.browser
def test_the_page_answers_under_the_prefix(proxy: Proxy, open_page: Callable[[str], Page]):
    page = open_page(proxy.url)

    page.locator("#lesion-examples button").first.click()
    expect(page.locator("#lesion-answer .answer").get_by_role("heading").first).to_be_visible()
    page.get_by_role("tab", name="Progress").click()
    page.locator("#progress-examples button").first.click()
    expect(page.locator("#progress-answer .answer").get_by_role("heading").first).to_be_visible()
    page.get_by_role("tab", name="About").click()
    expect(page.locator("#about-api")).to_contain_text(f"{proxy.url}/v1/lesion")
    with page.expect_popup() as docs:
        page.locator("#about-api a").click()

    assert docs.value.url == f"{proxy.url}/docs"


@pytest.mark.browser
def test_try_it_out_sends_requests_under_the_prefix(proxy: Proxy, open_page: Callable[[str], Page]):
    page = open_page(proxy.url)
    page.goto(f"{proxy.url}/docs")

    page.locator("#operations-server-healthz_healthz_get button").first.click()
    page.get_by_role("button", name="Try it out").click()
    with page.expect_response(f"{proxy.url}/healthz") as answer:
        page.get_by_role("button", name="Execute").click()

    assert answer.value.json() == {"status": "ok", "waiting_for": []}


def _write_config(folder: Path, server_port: int, port: int, plain_port: int) -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    [documented] = re.findall(r"```nginx\n(.*?)```", text, flags=re.DOTALL)
    options = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=clinic.example"
    files = ["-keyout", folder / "clinic.key", "-out", folder / "clinic.pem"]
    subprocess.run(["openssl", "req", *options.split(), *files], check=True, capture_output=True)
    servers = documented.replace("listen 443", f"listen 127.0.0.1:{port}") + DEFAULTS.format(port=plain_port)
    (folder / "skinserve-secret.conf").write_text(
        f"proxy_set_header X-Skinserve-Proxy-Secret {PROXY_SECRET};"
    )
    servers = servers.replace("/etc/nginx/", f"{folder}/").replace(":8000/", f":{server_port}/")
    folders = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; events {{}}\n"
        f"http {{ access_log off; {folders}\n{servers} }}\n",
        encoding="utf-8",
    )


def _free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _wait_until_open(nginx: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert nginx.poll() is None and time.monotonic() < until, "nginx does not start"
            time.sleep(0.05)


def _is_under(url: str, prefix: str) -> bool:
    return url.startswith((f"{prefix}/", "data:", "blob:"))
