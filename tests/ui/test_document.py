import re
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI

import ui.site
from serve.schemas import PHOTO_FORMAT_NAMES
from ui.client import ApiClient
from ui.config import UiConfig
from ui.memory_files import SCRIPTS, scripts
from ui.page import TABS

pytestmark = pytest.mark.usefixtures("small_examples")


@pytest.fixture
def site(client: ApiClient) -> FastAPI:
    return ui.site.build_site(UiConfig(max_photo_bytes=7_000_000), client)


@pytest.fixture
def browser(site: FastAPI) -> Iterator[httpx.AsyncClient]:
    yield httpx.AsyncClient(transport=httpx.ASGITransport(site), base_url="http://page")


async def test_the_document_names_no_other_host_and_has_no_script_of_its_own(browser):
    document = (await browser.get("/", headers={"accept-encoding": "br, gzip"})).text
    style = (await browser.get("/static/page.css")).text

    assert document.startswith("<!doctype html>\n<html lang=")
    assert re.findall(r"https?://[\w.]+", document + style) == []
    assert re.findall(r"<script[^>]*>[^<]*", document) == ['<script type="module" src="static/page.js">']
    assert "gradio" not in document.lower()


async def test_the_icon_and_the_tags_of_the_head_are_ours(browser):
    icon = await browser.get("/favicon.ico")
    document = (await browser.get("/")).text

    head = document[: document.index("</head>")]
    assert icon.headers["content-type"].startswith("image/svg+xml") and "<circle" in icon.text
    assert '<link rel="icon" type="image/svg+xml" href="favicon.ico">' in head
    assert 'content="noindex"' in head and 'content="no-referrer"' in head


async def test_the_document_has_every_tab_the_limits_and_a_text_without_javascript(browser):
    document = (await browser.get("/")).text

    shown = document[: document.index("<template")]
    for name in TABS:
        assert f'id="panel-{name}"' in document and f'id="tab-{name}"' in shown
    assert 'type="file"' in shown and "Is this lesion harmful?" in shown
    assert set(re.findall(r'data-max-bytes="(\d+)"', document)) == {"7000000"}
    assert document.count(PHOTO_FORMAT_NAMES) >= 2 and "up to 7\u00a0MB" in document
    assert "This page needs JavaScript" in document[document.index("<noscript>") :]


async def test_photos_go_to_the_api_or_with_keys_to_the_relay_of_the_page(client, tmp_path):
    (tmp_path / "page.key").write_text("skin_key")
    addresses = []
    for config in (UiConfig(), UiConfig(api_key_file=tmp_path / "page.key", access="open")):
        site = ui.site.build_site(config, client)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(site), base_url="http://page") as browser:
            relayed = await browser.get("/v1/models")
            found = re.findall(r'data-api="([^"]*)"', (await browser.get("/")).text)
            addresses.append((found, relayed.status_code))

    assert addresses == [(["../v1/"], 404), (["v1/"], 200)]


async def test_the_scripts_are_served_with_an_etag(browser):
    for path in scripts():
        first = await browser.get(f"/{path}")
        again = await browser.get(f"/{path}", headers={"if-none-match": first.headers["etag"]})

        assert first.headers["content-type"].startswith("text/javascript")
        assert first.headers["cache-control"] == "no-cache"
        assert (first.status_code, again.status_code, again.content) == (200, 304, b"")


def test_the_texts_of_the_page_are_not_in_its_scripts():
    for file in SCRIPTS.glob("*.js"):
        code = re.sub(r"/\*.*?\*/|(?<![:'\"])//[^\n]*", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
        texts = [
            found
            for found in re.findall(r"['\"`]([^'\"`\n]*)['\"`]", code)
            if re.search(r"[a-z] [a-z]+ [a-z]", found)
        ]
        assert all(re.match(r"the document has no|input, textarea|h2, h3", found) for found in texts), (
            file,
            texts,
        )


async def test_every_text_that_a_script_names_is_in_the_document(browser):
    document = (await browser.get("/")).text
    named = set()
    for file in SCRIPTS.glob("*.js"):
        named |= set(re.findall(r"\btext\('(\w+)'", file.read_text(encoding="utf-8")))

    missing = {name for name in named if f'data-text="{name}"' not in document}
    assert len(named) > 15 and not missing


def test_gradio_has_the_endpoints_and_no_components(client):
    from ui.gradio_api import Endpoints, build_blocks  # takes seconds to import

    blocks = build_blocks(Endpoints(client))

    assert {function.name for function in blocks.fns.values()} == {"lesion", "models", "progress"}


async def test_gradio_sends_no_statistics_and_saves_no_runs(browser):
    config = (await browser.get("/config")).json()

    assert config["analytics_enabled"] is False
    assert not config.get("run_history", False)


async def test_alive_is_answered(browser):
    assert (await browser.get("/alive")).text == "ok"
