"""Files of kinds that bug reports name, through the page and the real server: ``--field DIR``.

A screenshot of each is written to the temporary folder of the test.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

pytestmark = [pytest.mark.server, pytest.mark.browser]

TIMEOUT_MS = 90_000  # a busy machine with two cores


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of each file."""
    folder: Path | None = metafunc.config.getoption("--field")
    files = sorted(path for path in folder.iterdir() if path.is_file()) if folder else []
    metafunc.parametrize("file", files, ids=[file.name for file in files])


@pytest.fixture
def page(chromium: Browser, server_url: str) -> Iterator[Page]:
    page = chromium.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    expect.set_options(timeout=TIMEOUT_MS)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"{server_url}/")
    expect(page.locator("#panel-lesion .photo-input")).to_be_visible()
    yield page
    page.close()
    assert problems == []


def test_a_file_has_an_answer_or_a_message_that_says_what_to_do(page: Page, file: Path, tmp_path: Path):
    panel = page.locator("#panel-lesion")
    panel.locator(".drop input").set_input_files(file)

    outcome = panel.locator(".answer h3:visible, .card.error h3:visible, .problem:visible").first
    expect(outcome).to_be_visible()
    picture_or_input = panel.locator(".stage:visible, .photo-missing:visible, .photo-input:visible")
    expect(picture_or_input.first).to_be_visible()
    page.screenshot(path=tmp_path / f"{file.name}.png", full_page=True)
    expect(panel.get_by_text("Something went wrong")).to_have_count(0)
