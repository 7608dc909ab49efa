"""axe-core on errors, dialogs, every reason, the offline page and other states that are rarely seen."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from serve.lesion.schemas import LesionAnswer
from serve.progress.schemas import ProgressAnswer
from serve.schemas import MAX_SERIES_PHOTOS, ReasonCode
from tests.ui.axe_check import AxeCheck
from tests.ui.axe_check import check as check
from tests.ui.conftest import TIMEOUT_MS, FakeApi
from tests.ui.reason_cases import CODES, REASON_CASES
from tests.ui.screens import PHONE, opened
from tests.ui.series_pages import SPOILED, add, answered, compare, photo
from tests.ui.test_camera_in_browser import PORTRAIT
from tests.ui.test_feedback_in_browser import agree, form, open_form, send
from tests.ui.test_history_in_browser import PASSPHRASE, history, keep, keep_lesion, open_history
from tests.ui.test_lesion_in_browser import add as add_lesion
from tests.ui.test_lesion_in_browser import file_of, jpeg, verdict
from tests.ui.test_model_choice_in_browser import serve_two

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.parametrize("check", ["all"], indirect=True),
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated"),  # by Gradio
]


@pytest.mark.parametrize("code", CODES)
def test_every_reason(page: Page, api: FakeApi, check: AxeCheck, code: ReasonCode):
    answer = REASON_CASES[code].answer
    if isinstance(answer, LesionAnswer):
        api.lesion = answer
        add_lesion(page)
        expect(verdict(page)).to_be_visible()
    elif isinstance(answer, ProgressAnswer):
        api.progress = answer
        page.get_by_role("tab", name="Progress").click()
        add(page, [photo(number) for number in range(3)])
        compare(page)
        expect(page.locator("#progress-answer .verdict h3, .arrange:visible h3").first).to_be_visible()
    for summary in page.locator(".answer summary:visible").all():
        summary.click()
    check(code)


def test_drawings_have_a_note(page: Page, check: AxeCheck):
    page.locator("#panel-lesion [data-example]").first.click()
    expect(page.get_by_text("This result is for a drawing, not for a photo.")).to_be_visible()
    check("a drawing")
    page.get_by_role("tab", name="Progress").click()
    page.locator("#panel-progress [data-example]").first.click()
    page.get_by_role("button", name="Compare in this order").click()
    expect(page.get_by_text("This result is for drawings, not for photos.")).to_be_visible()
    check("drawings")


def test_the_choice_of_a_model(page: Page, api: FakeApi, check: AxeCheck):
    serve_two(page, api)
    check("choice of a model")


def test_a_limit_of_requests_with_a_button_that_waits(page: Page, api: FakeApi, check: AxeCheck):
    api.fail(429, "rate_limited", "too many requests; try again in 900 s", {"Retry-After": "900"})
    add_lesion(page)
    expect(page.locator("[data-retry]")).to_have_attribute("aria-disabled", "true")
    check("a lesion must wait")
    page.get_by_role("tab", name="Progress").click()
    add(page, [photo(0), photo(1)])
    compare(page)
    expect(page.locator("#progress-status [data-retry]")).to_have_attribute("aria-disabled", "true")
    check("a series must wait")


def test_feedback_that_is_not_stored(page: Page, api: FakeApi, check: AxeCheck):
    open_form(page, api)
    send(page)
    check("a form without consent")
    agree(page)
    form(page).get_by_label("Yes", exact=True).check()
    api.fail(503, "feedback_unavailable", "feedback cannot be stored now; try again later")
    send(page)
    expect(form(page).get_by_role("alert")).to_be_visible()
    check("feedback was not stored")


def test_a_server_that_is_gone(page: Page, check: AxeCheck):
    page.route("**/alive*", lambda route: route.abort())
    page.route("**/v1/models", lambda route: route.abort())
    expect(page.locator("#connection")).to_be_visible()
    check("banner")
    page.reload()
    page.get_by_role("tab", name="About").click()
    expect(page.locator("#panel-about").get_by_role("alert")).to_be_visible()
    check("about without the server")


def test_too_many_photos(page: Page, check: AxeCheck):
    page.get_by_role("tab", name="Progress").click()
    photos = [
        file_of(jpeg((60 + number, 60)), name=f"{number}.jpg") for number in range(MAX_SERIES_PHOTOS + 1)
    ]
    page.get_by_label("Photos of one face").set_input_files(photos)
    expect(page.locator("#panel-progress [data-slot=problem]")).to_contain_text("at most 30")
    check("too many photos")


def test_files_that_cannot_be_added(page: Page, api: FakeApi, check: AxeCheck):
    api.fail(400, "unreadable_image", "the file is truncated; send it again")
    add_lesion(page, SPOILED["buffer"])
    expect(page.locator("#panel-lesion .card.error")).to_be_visible()
    check("an error of one photo, with the input")
    page.get_by_role("tab", name="Progress").click()
    add(page, [photo(0)])
    compare(page)
    expect(page.locator("#progress-status").get_by_role("alert")).to_be_visible()
    check("too few photos")


def test_dialogs_of_the_history(page: Page, api: FakeApi, check: AxeCheck, tmp_path: Path):
    add_lesion(page)
    expect(verdict(page)).to_be_visible()
    page.locator("#panel-lesion [data-action=keep]").click()
    check("keep")
    page.locator("dialog [name=label]").fill(" ")
    page.locator("dialog .primary").click()
    expect(page.locator("dialog .problem")).not_to_be_empty()
    check("keep, without a name")
    page.keyboard.press("Escape")
    keep(page, "left arm")
    check("kept")
    open_history(page)
    page.get_by_role("button", name="Delete: left arm").click()
    expect(page.locator("dialog[open]")).to_be_visible()
    check("delete")
    page.keyboard.press("Escape")
    file = exported(page, tmp_path)
    page.get_by_role("button", name="Delete all").click()
    check("delete all")
    page.locator("dialog .primary").click()
    history(page).locator("input[type=file]").set_input_files(file)
    page.locator("dialog [name=passphrase]").fill("another passphrase")
    page.locator("dialog .primary").click()
    expect(page.locator("dialog .problem")).not_to_be_empty()
    check("import with a wrong passphrase")
    page.keyboard.press("Escape")
    history(page).locator("input[type=file]").set_input_files(file_of(b"no history", name="a.skinserve"))
    expect(history(page).get_by_role("alert")).to_be_visible()
    check("a file that is no history")


def exported(page: Page, folder: Path) -> Path:
    page.get_by_role("button", name="Export").click()
    for name in ("passphrase", "again"):
        page.locator(f"dialog [name={name}]").fill(PASSPHRASE)
    with page.expect_download() as download:
        page.locator("dialog .primary").click()
    download.value.save_as(folder / "history.skinserve")
    return folder / "history.skinserve"


def test_a_kept_series(page: Page, check: AxeCheck):
    page.get_by_role("tab", name="Progress").click()
    add(page, [photo(0), photo(1)])
    compare(page)
    page.get_by_role("button", name="Compare in this order").click()
    answered(page)
    keep(page, "face", panel="progress")
    open_history(page).locator("[data-action=open]").click()
    expect(history(page).locator(".answer .verdict h3")).to_be_visible()
    check("a kept series")


def test_the_camera(chromium: Browser, page_url: str, api: FakeApi, check: AxeCheck):
    page = chromium.new_page(reduced_motion="reduce")
    page.add_init_script(PORTRAIT)
    page.goto(page_url)
    page.locator("#panel-lesion").get_by_role("button", name="Use the camera").click()
    expect(page.get_by_role("dialog", name="Camera").get_by_role("status")).not_to_be_empty()
    camera = AxeCheck(page)
    camera("camera")
    page.close()
    check.findings += camera.findings


def test_the_offline_page_with_a_history(page: Page, api: FakeApi, check: AxeCheck):
    keep_lesion(page, api, "left arm", 0.12)
    page.goto(f"{page.url.partition('#')[0]}offline")
    expect(page.get_by_role("heading", name="The server cannot be reached")).to_be_visible()
    expect(page.locator(".history-group")).to_be_visible()
    check("offline")
    page.locator("[data-action=open]").click()
    expect(page.locator(".answer .verdict h3")).to_be_visible()
    check("offline, a kept answer")


def test_a_phone_with_a_touch_screen(chromium: Browser, page_url: str, api: FakeApi, check: AxeCheck):
    with opened(chromium, page_url, PHONE, TIMEOUT_MS) as page:
        phone = AxeCheck(page)
        expect(page.locator("#panel-lesion [data-capture]")).to_be_visible()
        phone("no photo")
        page.get_by_role("tab", name="Progress").click()
        add(page, [photo(0), photo(1)])
        phone("two photos")
        compare(page)
        expect(page.get_by_role("heading", name="When were these photos taken?")).to_be_visible()
        phone("dates and order")
    check.findings += phone.findings
