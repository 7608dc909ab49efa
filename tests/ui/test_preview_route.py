import asyncio
import io
import os
import sys
import tempfile
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from types import ModuleType

import httpx
import pytest
import starlette.formparsers
from PIL import Image

import ui.preview_route
import ui.site
from ui.config import UiConfig

pytestmark = pytest.mark.usefixtures("small_examples")


@pytest.fixture
async def browser(client) -> AsyncIterator[httpx.AsyncClient]:
    site = ui.site.build_site(UiConfig(max_photo_bytes=1_000_000), client)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(site), base_url="http://page") as browser:
        yield browser


def tiff() -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (640, 480), "tan").save(data, "TIFF", compression="tiff_lzw")
    return data.getvalue()


async def test_a_photo_is_drawn(browser):
    answer = (await browser.post("/preview", content=tiff())).json()

    assert answer["data_uri"].startswith("data:image/jpeg;base64,")
    assert (answer["width_px"], answer["height_px"]) == (640, 480)


async def test_a_file_that_is_no_photo_is_an_error(browser):
    answer = await browser.post("/preview", content=b"<html>")

    assert answer.status_code == 422 and answer.json()["error"]["code"] == "unreadable_image"


async def test_a_photo_over_the_limit_is_rejected_by_its_length_and_while_reading(browser):
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield bytes(100_000)

    by_length = await browser.post("/preview", content=bytes(1_000_001))
    while_reading = await browser.post("/preview", content=chunks())

    for answer in (by_length, while_reading):
        assert answer.status_code == 413 and answer.json()["error"]["code"] == "too_large"


async def test_too_many_at_once_are_rejected(browser, monkeypatch):
    monkeypatch.setattr(ui.preview_route, "_MAX_REQUESTS", 1)
    release = threading.Event()
    monkeypatch.setattr(ui.preview_route, "make_preview", lambda *_, **__: release.wait(10) and None)

    first = asyncio.create_task(browser.post("/preview", content=b"x"))
    await asyncio.sleep(0.2)
    second = await browser.post("/preview", content=b"x")
    release.set()

    assert second.status_code == 503 and second.headers["retry-after"] == "2"
    assert (await first).status_code == 422


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only folder in which helper processes make temporary files."""
    for name in ("TMPDIR", "GRADIO_TEMP_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def temporary_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of temporary files that this process tries to make; each attempt fails."""
    made: list[str] = []

    def fail(name: str, *_: object, **__: object) -> None:
        made.append(name)
        raise AssertionError("a temporary file was made")

    modules = [module for module in sys.modules.values() if isinstance(module, ModuleType)]
    for name in ("TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile", "mkstemp", "mkdtemp"):
        original = getattr(tempfile, name)
        for module in modules:  # Starlette and Gradio have imported some by name
            if vars(module).get(name) is original:
                monkeypatch.setattr(module, name, partial(fail, name))
    return made


async def test_no_upload_writes_a_byte_to_a_disk(client, disk: Path, temporary_files: list[str]):
    site = ui.site.build_site(UiConfig(), client)
    photo = tiff()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(site), base_url="http://page") as browser:
        uploads = [
            await browser.post(path, files={"files": ("a.jpg", photo)})
            for path in (
                "/gradio_api/upload",
                "/gradio_api/upload?upload_id=x",
                "/gradio_api/component_server",
            )
        ]
        drawn = await browser.post("/preview", content=photo)
        form = await browser.post("/preview", files={"file": ("a.tiff", photo * 9)})

    assert [answer.status_code for answer in uploads] == [404, 404, 404]
    assert (drawn.status_code, form.status_code) == (200, 422)
    assert temporary_files == [] and os.listdir(disk) == []


def test_an_attempt_to_make_a_temporary_file_is_noticed(temporary_files: list[str]):
    with pytest.raises(AssertionError, match="was made"):
        vars(starlette.formparsers)["SpooledTemporaryFile"]()
    with pytest.raises(AssertionError, match="was made"):
        tempfile.mkdtemp()

    assert temporary_files == ["SpooledTemporaryFile", "mkdtemp"]
