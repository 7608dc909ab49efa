"""The routes that make the page installable."""

import io
import re
from collections.abc import AsyncIterator

import httpx
import pytest
from PIL import Image

import ui.site
from ui.config import UiConfig
from ui.memory_files import BUNDLES

pytestmark = pytest.mark.usefixtures("small_examples")


@pytest.fixture
async def browser(client) -> AsyncIterator[httpx.AsyncClient]:
    site = ui.site.build_site(UiConfig(), client)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(site), base_url="http://page") as browser:
        yield browser


async def test_the_document_has_one_manifest_whose_files_exist(browser: httpx.AsyncClient):
    document = (await browser.get("/")).text
    assert re.findall(r'<link rel="manifest" href="([^"]*)"', document) == ["manifest.webmanifest"]

    response = await browser.get("/manifest.webmanifest")
    manifest = response.json()

    assert response.headers["content-type"] == "application/manifest+json"
    assert (manifest["start_url"], manifest["scope"], manifest["lang"]) == ("./", "./", "en")
    for icon in manifest["icons"]:
        picture = Image.open(io.BytesIO((await browser.get(f"/{icon['src']}")).content))
        assert "{}x{}".format(*picture.size) == icon["sizes"]
    assert {"any", "maskable"} == {icon["purpose"] for icon in manifest["icons"]}


async def test_all_files_of_the_shell_exist(browser: httpx.AsyncClient):
    worker = (await browser.get("/sw.js")).text
    shell = re.findall(r'"([^"]+)"', worker.splitlines()[1])

    assert "offline" in shell and "static/offline_page.js" in shell
    for path in shell:
        assert (await browser.get(f"/{path}")).status_code == 200
    assert {f"static/{file.name}" for file in BUNDLES.glob("*.js")} <= set(shell)


async def test_a_photo_shared_without_a_service_worker_is_not_read(browser: httpx.AsyncClient):
    async def never() -> AsyncIterator[bytes]:
        yield b"a"
        raise AssertionError("the body was read")

    response = await browser.post("/share", content=never())

    assert (response.status_code, response.headers["location"]) == (303, "./?shared=none")


async def test_text_is_compressed(browser: httpx.AsyncClient):
    for path in ("/", "/static/page.js", "/offline"):
        assert (await browser.get(path)).headers["content-encoding"] == "gzip"
