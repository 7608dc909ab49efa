"""A browser whose storage is full, by a real quota: nothing of the history is lost."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.ui.conftest import TIMEOUT_MS
from tests.ui.killed_processes import noise
from tests.ui.screens import DESK, opened
from tests.ui.test_history_in_browser import PASSPHRASE, history, keep, open_history
from tests.ui.test_lesion_in_browser import add, verdict

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated"),  # by Gradio
]

PHOTO_PX = 700
PHOTO = noise(PHOTO_PX, seed=1)
FULL = "has no room"
FORGET_MS = 5000
"""Until Chromium forgets how much room there was, when no database is open."""
SetRoom = Callable[[float], None]


@pytest.fixture
def set_room(page: Page) -> SetRoom:
    """Return a function that sets for how many more photos the browser has room."""
    devtools = page.context.new_cdp_session(page)
    origin = page.evaluate("location.origin")

    def set_to(num_photos: float) -> None:
        used = page.evaluate("navigator.storage.estimate().then(({ usage }) => usage)")
        quota = {"origin": origin, "quotaSize": used + round(num_photos * len(PHOTO))}
        devtools.send("Storage.overrideQuotaForOrigin", quota)
        page.wait_for_timeout(FORGET_MS)

    return set_to


@pytest.fixture
def dialog(page: Page) -> Locator:
    return page.locator("dialog")


def answered(page: Page) -> None:
    add(page, PHOTO)
    expect(verdict(page)).to_be_visible()


def test_an_answer_that_does_not_fit_can_be_kept_after_making_room(
    page: Page, set_room: SetRoom, dialog: Locator
):
    set_room(0.5)
    answered(page)
    page.locator("#panel-lesion [data-action=keep]").click()
    dialog.locator("[name=label]").fill("left arm")
    dialog.locator(".primary").click()

    expect(dialog.locator(".problem")).to_contain_text(FULL)
    expect(dialog.locator("[name=label]")).to_have_value("left arm")
    expect(verdict(page)).to_have_text("Looks benign")
    set_room(100)
    dialog.locator(".primary").click()
    expect(page.locator("#panel-lesion .keep a")).to_be_focused()
    expect(open_history(page).locator("h3 bdi")).to_have_text("left arm")


def test_without_room_a_name_is_changed_and_the_photo_stays(page: Page, set_room: SetRoom, dialog: Locator):
    """Chromium keeps a margin for small changes; test_history_in_browser.py has the message without one."""
    answered(page)
    keep(page, "left arm")
    open_history(page).locator("[data-action=open]").click()
    set_room(0)
    page.get_by_role("button", name="Change the name").click()
    dialog.locator("[name=label]").fill("right arm")
    dialog.locator(".primary").click()

    expect(history(page).locator("[data-slot=entry-title]")).to_contain_text("right arm")
    page.reload()
    group = open_history(page)
    expect(group.locator("h3 bdi")).to_have_text(["right arm"])
    group.locator("[data-action=open]").click()
    photo = history(page).locator(".stage img[data-photo]")
    expect(photo).to_be_visible()
    assert photo.evaluate("image => image.naturalWidth") == PHOTO_PX


def test_a_file_is_imported_as_a_whole_or_not_at_all(
    chromium: Browser, page_url: str, page: Page, set_room: SetRoom, tmp_path: Path
):
    file = tmp_path / "history.skinserve"
    with opened(chromium, page_url, DESK, TIMEOUT_MS) as other_device:
        for label in ("left arm", "back"):
            answered(other_device)
            keep(other_device, label)
            other_device.get_by_role("button", name="Check another photo").first.click()
        export_file(other_device, file)

    set_room(1.5)
    open_history(page)
    import_file(page, file)
    expect(history(page).get_by_role("alert")).to_contain_text(FULL)
    expect(history(page).locator(".history-group")).to_have_count(0)
    set_room(100)
    import_file(page, file)
    expect(history(page).locator("[data-slot=done]")).to_contain_text("2 answers were imported.")
    expect(history(page).locator("h3 bdi")).to_have_text(["back", "left arm"])


def export_file(page: Page, file: Path) -> None:
    open_history(page)
    page.get_by_role("button", name="Export").click()
    for name in ("passphrase", "again"):
        page.locator(f"dialog [name={name}]").fill(PASSPHRASE)
    with page.expect_download() as download:
        page.locator("dialog .primary").click()
    download.value.save_as(file)


def import_file(page: Page, file: Path) -> None:
    history(page).locator("input[type=file]").set_input_files(file)
    page.locator("dialog [name=passphrase]").fill(PASSPHRASE)
    page.locator("dialog .primary").click()
