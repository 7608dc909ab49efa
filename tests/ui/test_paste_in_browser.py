"""Photos from the clipboard, by the keys that a person presses."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.ui.conftest import DESK, TIMEOUT_MS, FakeApi
from tests.ui.test_lesion_in_browser import add, tab, verdict

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated"),  # by Gradio
]

COPY_PICTURE = """
async () => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 240 });
    canvas.getContext("2d").fillRect(0, 0, 320, 240);
    const picture = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    await navigator.clipboard.write([new ClipboardItem({ "image/png": picture })]);
}
"""
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def page(chromium: Browser, page_url: str, api: FakeApi) -> Iterator[Page]:
    api.reset()
    context = chromium.new_context(viewport=DESK, service_workers="block", reduced_motion="reduce")
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    page.goto(page_url)
    expect(tab(page).locator(".drop")).to_be_visible()
    yield page
    context.close()


def paste(page: Page) -> None:
    page.keyboard.press("Control+V")


def test_a_copied_picture_is_classified_and_replaced_by_the_next(page: Page, api: FakeApi):
    page.evaluate(COPY_PICTURE)
    for _ in range(2):
        api.photos = []
        paste(page)
        expect(verdict(page)).to_be_focused()
        assert len(api.photos) == 1 and api.photos[0].startswith(PNG)
        expect(page.locator("#panel-progress .series-tiles li")).to_have_count(0)
        page.locator("[data-again]").click()


def test_copied_pictures_are_added_to_a_series(page: Page, api: FakeApi):
    page.get_by_role("tab", name="Progress").click()
    page.evaluate(COPY_PICTURE)
    tiles = page.locator("#panel-progress .series-tiles li")
    for number in (1, 2):
        paste(page)
        expect(tiles).to_have_count(number)
    assert api.photos == [], "nothing is sent before Compare"


def test_copied_text_is_a_message(page: Page, api: FakeApi):
    page.evaluate("navigator.clipboard.writeText('no picture')")
    paste(page)

    expect(tab(page).locator(".photo-input .problem")).to_contain_text("There is no photo in the clipboard.")
    assert api.photos == []


def test_text_that_is_pasted_into_a_field_stays_there(page: Page, api: FakeApi):
    add(page)
    expect(verdict(page)).to_be_visible()
    tab(page).locator("[data-action=keep]").click()
    page.evaluate("navigator.clipboard.writeText('Left arm')")
    name = page.locator("dialog [name=label]")
    name.focus()
    paste(page)

    expect(name).to_have_value("Left arm")
    expect(tab(page).locator(".photo-input .problem")).to_be_hidden()
