import re
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

import ui.site
from serve.runtime.forwarded_headers import TrustedProxy
from ui.client import ApiClient
from ui.config import UiConfig

FORGED = {
    "x-forwarded-prefix": "/evil",
    "x-forwarded-proto": "https",
    "x-forwarded-host": "evil.example",
    "forwarded": "host=evil.example;proto=https",
    "x-gradio-server": "http://evil.example",
    "x-skinserve-proxy-secret": "a-forged-secret-of-the-proxy",
}
PATHS = ("/ui", "/ui/", "/ui/config", "/ui/gradio_api/info", "/ui/gradio_api/app_id", "/ui/offline")
MakeClient = Callable[[UiConfig], httpx.AsyncClient]


@pytest.fixture
def make_client(client: ApiClient, small_examples: None) -> MakeClient:
    """Build the page with small examples, served at ``/ui``."""

    def make(config: UiConfig) -> httpx.AsyncClient:
        site: FastAPI = ui.site.build_site(config, client)
        transport = httpx.ASGITransport(site, root_path="/ui")
        return httpx.AsyncClient(base_url="http://skin.example", transport=transport)

    return make


async def seen(client: httpx.AsyncClient, headers: Mapping[str, str]) -> list[tuple[int, str, str | None]]:
    answers = [await client.get(path, headers=headers) for path in PATHS]
    return [(one.status_code, one.text, one.headers.get("location")) for one in answers]


async def test_forged_headers_change_nothing_by_default(make_client: MakeClient):
    client = make_client(UiConfig())

    clean, forged = await seen(client, {}), await seen(client, FORGED)

    assert [status for status, *_ in clean] == [307, 200, 200, 200, 200, 200]
    assert [location for *_, location in clean if location] == ["/ui/"]
    assert forged == clean
    assert "evil" not in str(clean)


async def test_the_page_has_the_address_that_a_trusted_proxy_sends(make_client: MakeClient, tmp_path: Path):
    (tmp_path / "secret").write_text("secret-of-the-proxy")
    trusted = TrustedProxy(name="nginx", secret_file=str(tmp_path / "secret"))
    client = make_client(UiConfig(trusted_proxy=trusted))
    proxy = {
        "x-skinserve-proxy-secret": "secret-of-the-proxy",
        "x-forwarded-prefix": "/skin",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "clinic.example:8443",
    }

    (_, _, location), (_, page, _), (_, config, _), *_ = await seen(client, proxy)

    assert location == "/skin/ui/"
    assert re.findall(r'"root":"([^"]*)"', config) == ["https://clinic.example:8443/skin/ui"]
    assert re.findall(r'(?:src|href)="(/[^"]*)"', page) == [], "no address from the root of the host"


async def test_photos_are_not_stored_and_only_named_origins_may_show_the_page_in_a_frame(
    make_client: MakeClient,
):
    portal = UiConfig(embedding_origins=("https://portal.example",))

    answers = [await make_client(config).get("/ui/") for config in (UiConfig(), portal)]
    style = await make_client(UiConfig()).get("/ui/static/page.css")
    photo = await make_client(UiConfig()).get("/ui/gradio_api/file=missing.png")

    frames = [
        answer.headers["content-security-policy"].rpartition("frame-ancestors ")[2] for answer in answers
    ]
    assert frames == ["'self'", "'self' https://portal.example"]
    assert [answer.headers.get("x-frame-options") for answer in answers] == ["SAMEORIGIN", None]
    assert [answer.headers["cache-control"] for answer in (*answers, photo)] == ["no-store"] * 3
    assert {answer.headers["x-content-type-options"] for answer in (*answers, style, photo)} == {"nosniff"}
    assert style.headers["cache-control"] == "no-cache"


async def test_scripts_are_files_of_the_page_only(make_client: MakeClient):
    policy = (await make_client(UiConfig()).get("/ui/")).headers["content-security-policy"]

    assert policy.startswith("default-src 'self';") and "script-src" not in policy


@pytest.mark.parametrize(
    "path",
    [
        *("upload", "upload_progress?upload_id=x", "file=/etc/passwd", "proxy=http://evil.example"),
        *("deep_link", "stream/a/b/c/playlist.m3u8", "component_server", "process_recording"),
        *("call/lesion", "call/v2/lesion"),
        *("cancel", "reset", "token", "vibe-code", "run-history/records", "openapi.json"),
    ],
)
async def test_routes_of_gradio_that_the_page_does_not_need_are_closed(make_client: MakeClient, path: str):
    client = make_client(UiConfig())

    for method in ("GET", "POST"):
        answer = await client.request(method, f"/ui/gradio_api/{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "path",
    [
        *("login", "logout", "manifest.json", "monitoring", "pwa_icon", "svelte/x"),
        *("theme.css", "assets/index.js"),
    ],
)
async def test_pages_of_gradio_are_closed(make_client: MakeClient, path: str):
    assert (await make_client(UiConfig()).get(f"/ui/{path}")).status_code == 404
