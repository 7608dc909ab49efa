"""A browser, an HTTP client and drawn photos for the tests of the server."""

import shutil
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, sync_playwright

from samples.lesion import draw_lesion
from samples.series import draw_series
from tests.e2e.keyed_server import keyed as keyed
from tests.serve.fakes import jpeg_of

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""The first draws no window of its own and needs half of the CPU."""
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Start a browser for a module: Playwright holds the event loop of its thread."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium-headless-shell")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS + QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def http(server_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server_url, timeout=90, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def lesion() -> bytes:
    return jpeg_of(draw_lesion(seed=3))


@pytest.fixture(scope="module")
def faces() -> list[bytes]:
    return [jpeg_of(photo) for photo in draw_series(improving=True, num_photos=3, seed=5)]
