"""The real server behind nginx with the configuration of docs/operations.md: prefix, TLS, another port."""

import io
import json
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.conftest import Server
from tests.e2e.nginx import Nginx, run_nginx

pytestmark = [pytest.mark.server]

TIMEOUT_MS = 90_000  # a busy machine with two cores


@pytest.fixture(scope="module")
def proxy(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with run_nginx(tmp_path_factory.mktemp("nginx"), server.port) as nginx:
        yield nginx


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(verify=False, timeout=90, trust_env=False) as client:
        yield client


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Callable[[str], Page]]:
    """Open addresses; a failed or foreign request and an error in the console fail the test."""
    # Chromium registers no service worker under a certificate that it does not trust.
    context = chromium.new_context(ignore_https_errors=True, service_workers="block")
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


def test_redirects_and_openapi_have_the_prefix(proxy: Nginx, http: httpx.Client):
    for url, prefix in ((proxy.url, "/skin"), (proxy.plain_url, "/plain")):
        pages = [http.get(f"{url}{path}", follow_redirects=True) for path in ("", "/", "/ui")]

        assert [str(page.url) for page in pages] == [f"{url}/ui/"] * 3
        assert all(page.status_code == 200 for page in pages)
        assert http.get(f"{url}/openapi.json").json()["servers"] == [{"url": prefix}]


def test_the_processes_of_the_server_trust_no_address(server: Server):
    """Tests of single processes check the effect: test_forwarded_headers.py, tests/ui/test_site.py."""
    for replica in server.replicas("Gateway"):
        assert replica.environ()["FORWARDED_ALLOW_IPS"] == ""


def test_headers_of_single_sign_on_are_served(server: Server, proxy: Nginx, http: httpx.Client):
    many = {f"x-header-{index:02}": "a" * 600 for index in range(90)}

    for url in (server.url, proxy.url):
        for headers in ({"cookie": "a" * 17_000}, {"cookie": "a" * 63_000}, many):
            for path in ("/healthz", "/ui/", "/ui/config"):
                assert http.get(url + path, headers=headers).status_code == 200, (path, headers)
    too_many = {f"x-header-{index:03}": "a" for index in range(101)}
    assert http.get(server.url, headers=too_many).status_code == 400


def test_a_batch_streams_through_the_defaults_of_nginx(proxy: Nginx, http: httpx.Client):
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
def test_the_page_answers_under_the_prefix(proxy: Nginx, open_page: Callable[[str], Page]):
    page = open_page(proxy.url)

    page.locator("#panel-lesion [data-example]").first.click()
    expect(page.locator("#panel-lesion .answer").get_by_role("heading").first).to_be_visible()
    page.get_by_role("tab", name="Progress").click()
    page.locator("#panel-progress [data-example]").first.click()
    expect(page.locator("#progress-answer .answer").get_by_role("heading").first).to_be_visible()
    page.get_by_role("tab", name="About").click()
    expect(page.locator("#panel-about .about-api")).to_contain_text(f"{proxy.url}/v1/lesion")
    with page.expect_popup() as docs:
        page.locator("#panel-about .about-api a").click()

    assert docs.value.url == f"{proxy.url}/docs"


@pytest.mark.browser
def test_try_it_out_sends_requests_under_the_prefix(proxy: Nginx, open_page: Callable[[str], Page]):
    page = open_page(proxy.url)
    page.goto(f"{proxy.url}/docs")

    page.locator("#operations-server-healthz_healthz_get button").first.click()
    page.get_by_role("button", name="Try it out").click()
    with page.expect_response(f"{proxy.url}/healthz") as answer:
        page.get_by_role("button", name="Execute").click()

    assert answer.value.json() == {"status": "ok", "waiting_for": []}


def _is_under(url: str, prefix: str) -> bool:
    return url.startswith((f"{prefix}/", "data:", "blob:"))
