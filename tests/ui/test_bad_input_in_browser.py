"""Bad files, lost connections, blocked storage, hostile names and too much feedback, in headless Chromium."""

import io
import re
from pathlib import Path

import pypdf
import pytest
from playwright.sync_api import Browser, FilePayload, Page, expect

from tests.ui.conftest import TIMEOUT_MS, FakeApi
from tests.ui.series_pages import SPOILED, answered, compare, photo
from tests.ui.series_pages import add as add_series
from tests.ui.series_pages import tab as tab
from tests.ui.test_feedback_in_browser import agree, form, open_form, send
from tests.ui.test_history_in_browser import history, keep, open_history
from tests.ui.test_lesion_in_browser import add, file_of, jpeg, verdict
from tests.ui.test_page_robustness import RestartedServer
from tests.ui.test_page_robustness import server as server
from tests.ui.test_report_in_browser import pdf_text, print_report

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings(
        "ignore:'future.no_silent_downcasting' is deprecated"
    ),  # by Gradio's statistics
]

SCRIPT = "<script>alert(1)</script>.jpg"
ARABIC = "ذراعي اليسرى"
BLOCK_STORAGE = """
for (const name of ['localStorage', 'sessionStorage', 'indexedDB', 'caches']) {
    Object.defineProperty(window, name, { get() { throw new DOMException('blocked', 'SecurityError'); } });
}
"""
BIDI_OF_ALL = "all => all.map((one) => getComputedStyle(one).unicodeBidi)"


def printed(page: Page) -> str:
    """Return all text of the page as PDF."""
    reader = pypdf.PdfReader(io.BytesIO(page.pdf(format="A4", prefer_css_page_size=True)))
    return " ".join(sheet.extract_text() for sheet in reader.pages)


def drawn(number: int) -> FilePayload:
    """Return a photo of its own size, so that all photos differ."""
    return file_of(jpeg((200 + number, 240)), name=f"{number:02}.jpg")


@pytest.mark.slow
def test_five_bad_files_of_thirty_are_left_out(tab: Page, api: FakeApi):
    photos = [drawn(number) for number in range(30)]
    photos[3] = SPOILED
    photos[11] = file_of(b"a text", name="note.jpg")
    photos[17] = file_of(b"", name="empty.jpg")
    api.rejected = [photos[number]["buffer"] for number in (7, 25)]  # the browser can draw them

    tab.get_by_label("Photos of one face").set_input_files(photos)
    expect(tab.locator("#panel-progress")).to_contain_text("“\u2068empty.jpg\u2069” is empty.")
    expect(tab.locator(".series-tiles li")).to_have_count(29)
    expect(tab.locator(".series-tiles .faulty")).to_have_count(2)
    compare(tab)
    alert = tab.locator("#progress-status").get_by_role("alert")
    expect(alert).to_contain_text("2 files cannot be read: Photo 4, Photo 12.")
    alert.get_by_role("button", name="Leave them out and compare").click()
    expect(alert).to_contain_text("2 photos cannot be used: Photo 7, Photo 23.")
    alert.get_by_role("button", name="Leave them out and compare").click()
    tab.get_by_role("button", name="Compare in this order").click()

    expect(answered(tab).locator(".photos li")).to_have_count(25)
    assert len(api.photos) == 25 and not set(api.photos) & set(api.rejected)


@pytest.mark.slow
def test_two_tabs_compare_their_own_photos_and_share_the_history(tab: Page, api: FakeApi, page_url: str):
    other = tab.context.new_page()
    other.goto(f"{page_url}#progress")
    expect(other.locator("#progress-compare")).to_be_visible()
    for page, count in ((tab, 2), (other, 3)):
        add_series(page, [photo(number) for number in range(count)])
    for page, count in ((tab, 2), (other, 3)):
        compare(page)
        page.get_by_role("button", name="Compare in this order").click()
        expect(answered(page).locator(".photos li")).to_have_count(count)

    for page, label in ((tab, "first"), (other, "second")):
        page.bring_to_front()
        keep(page, label, panel="progress")
    for page in (tab, other):
        expect(open_history(page).locator("h3 bdi")).to_have_text(["second", "first"])
    other.close()


@pytest.mark.slow
@pytest.mark.parametrize("step", ["**/v1/progress*", "**/render/progress*"])
def test_a_series_whose_connection_breaks_in_a_step_is_tried_again(tab: Page, step: str):
    tab.route(step, lambda route: route.abort("connectionreset"))
    add_series(tab, [photo(0), photo(1)])
    compare(tab)
    if "render" in step:
        tab.get_by_role("button", name="Compare in this order").click()
    alert = tab.locator("#progress-status").get_by_role("alert")
    expect(alert).to_contain_text("The server does not answer. Your photos are still here.")

    tab.unroute(step)
    alert.get_by_role("button", name="Try again").click()
    if "render" not in step:
        tab.get_by_role("button", name="Compare in this order").click()
    expect(answered(tab).locator(".photos li")).to_have_count(2)


@pytest.mark.slow
def test_without_a_server_reports_and_the_history_still_work(
    chromium: Browser, server: RestartedServer, tmp_path: Path
):
    page = chromium.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(server.url)
    expect(page.locator("#panel-lesion .photo-input")).to_be_visible()
    add(page)
    expect(verdict(page)).to_be_visible()

    server.stop()
    print_report(page, "lesion")
    assert "Looks benign" in pdf_text(page)
    keep(page, "left arm")
    groups = open_history(page)
    page.get_by_role("button", name="Export").click()
    for name in ("passphrase", "again"):
        page.locator(f"dialog [name={name}]").fill("a long passphrase")
    with page.expect_download() as download:
        page.locator("dialog .primary").click()
    file = tmp_path / "history.skinserve"
    download.value.save_as(file)
    page.get_by_role("button", name="Delete all").click()
    page.locator("dialog .primary").click()
    expect(groups).to_have_count(0)
    history(page).locator("input[type=file]").set_input_files(file)
    page.locator("dialog [name=passphrase]").fill("a long passphrase")
    page.locator("dialog .primary").click()
    expect(history(page).locator("[data-slot=done]")).to_have_text("1 answer was imported.")

    server.start()
    groups.locator("[data-action=open]").click()
    expect(history(page).locator(".answer .verdict h3")).to_have_text("Looks benign")
    page.close()


@pytest.mark.slow
def test_a_browser_that_stores_nothing_shows_answers_and_says_so(page: Page, page_url: str):
    page.add_init_script(BLOCK_STORAGE)
    page.reload()
    add(page)
    expect(verdict(page)).to_be_visible()
    page.locator("#panel-lesion [data-action=keep]").click()
    page.locator("dialog [name=label]").fill("left arm")
    page.locator("dialog .primary").click()
    expect(page.locator("dialog .problem")).to_contain_text("does not let the page store anything")
    page.keyboard.press("Escape")

    page.get_by_role("tab", name="History").click()
    expect(history(page).get_by_role("heading", name="History")).to_be_visible()
    page.once("dialog", lambda dialog: dialog.accept())
    page.locator("#language").select_option("de")
    expect(page.locator("html")).to_have_attribute("lang", "de")


def test_a_script_as_name_is_text_in_history_and_report(page: Page):
    opened: list[str] = []
    page.on("dialog", lambda dialog: opened.append(dialog.type) or dialog.accept())
    add(page, jpeg(), name=SCRIPT)
    keep(page, SCRIPT)
    print_report(page, "lesion")

    assert SCRIPT in pdf_text(page)
    page.mouse.click(2, 2)
    expect(open_history(page).locator("h3 bdi")).to_have_text(SCRIPT)
    assert opened == []


@pytest.mark.slow
def test_an_arabic_name_does_not_turn_the_date_round(page: Page):
    add(page)
    keep(page, ARABIC)
    expect(page.locator("#panel-lesion .keep a")).to_contain_text(f"\u2068{ARABIC}\u2069")
    open_history(page).locator("[data-action=open]").click()

    expect(history(page).locator("[data-slot=entry-title]")).to_contain_text(f"\u2068{ARABIC}\u2069, ")
    page.get_by_role("button", name="Change the name").click()
    expect(page.locator("dialog [name=label]")).to_have_value(ARABIC)


@pytest.mark.slow
def test_an_arabic_name_is_isolated_in_the_history_and_in_the_report(page: Page):
    add(page, name=f"{ARABIC} 3.jpg")
    keep(page, ARABIC)
    print_report(page, "lesion")
    head = page.locator("#report header p").first
    expect(head.locator("bdi")).to_have_text([ARABIC, f"{ARABIC} 3.jpg"])
    assert all(bidi == "isolate" for bidi in head.locator("bdi").evaluate_all(BIDI_OF_ALL))
    assert any("\u0600" <= letter <= "\u06ff" for letter in printed(page)), "the PDF shows no Arabic letter"
    page.mouse.click(2, 2)

    group = open_history(page)
    expect(group.locator("h3 bdi")).to_have_text(ARABIC)
    assert group.locator("h3 bdi").evaluate_all(BIDI_OF_ALL) == ["isolate"]
    group.locator("[data-action=delete]").click()
    expect(page.locator("dialog [data-slot=what]")).to_contain_text(f"\u2068{ARABIC}\u2069, ")


@pytest.mark.slow
def test_two_tabs_change_one_history(page: Page, page_url: str):
    add(page)
    keep(page, "left arm")
    other = page.context.new_page()
    other.goto(f"{page_url}#history")
    history(other).locator("[data-action=open]").click()
    expect(history(other).locator(".answer .verdict h3")).to_be_visible()

    open_history(page).locator("[data-action=delete]").click()
    page.locator("dialog .primary").click()
    expect(history(page).locator(".history-group")).to_have_count(0)
    expect(history(other).locator(".answer .verdict h3"), "what a person reads stays").to_be_visible()
    other.get_by_role("button", name="Back to the history").click()
    expect(history(other).locator(".history-group")).to_have_count(0)
    other.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("language", "words"),
    [("en", "Too much feedback; try again in 3 s"), ("de", "Versuchen Sie es in 3 Sekunden erneut.")],
)
def test_too_much_feedback_says_when_to_try_again(page: Page, api: FakeApi, language: str, words: str):
    open_form(page, api)
    if language == "de":
        page.once("dialog", lambda dialog: dialog.accept())
        page.locator("#language").select_option("de")
        expect(page.locator("html")).to_have_attribute("lang", "de")
        add(page)
        form(page).locator("summary").click()
    form(page).locator("[name=correct][value=no]").check()
    form(page).locator("[name=consent]").check()
    api.fail(429, "rate_limited", "too much feedback; try again in 3 s", {"Retry-After": "3"})
    form(page).locator("[type=submit]").click()

    alert = form(page).get_by_role("alert")
    expect(alert).to_contain_text(words)
    retry = alert.locator("[data-retry]")
    expect(retry).to_have_attribute("aria-disabled", "true")
    expect(retry).to_have_text(re.compile("[123]"))
    api.error = None
    expect(retry).to_have_attribute("aria-disabled", "false")
    retry.click()
    expect(form(page).locator("code")).to_be_visible()
    assert api.feedback["correct"] == "no"


@pytest.mark.slow
def test_feedback_whose_connection_breaks_is_sent_again(page: Page, api: FakeApi):
    open_form(page, api)
    form(page).get_by_label("Yes", exact=True).check()
    agree(page)
    page.route("**/v1/feedback", lambda route: route.abort("connectionreset"))
    send(page)
    alert = form(page).get_by_role("alert")
    expect(alert).to_contain_text("The server does not answer.")

    page.unroute("**/v1/feedback")
    alert.get_by_role("button", name="Try again").click()
    expect(form(page).locator("code")).to_be_visible()
    assert api.feedback["correct"] == "yes"


@pytest.mark.slow
def test_feedback_over_the_size_of_an_address_is_not_sent_again(page: Page, api: FakeApi):
    open_form(page, api)
    form(page).get_by_label("Yes", exact=True).check()
    agree(page)
    api.fail(429, "feedback_quota", "200.0 MB of feedback are stored; delete some by its receipt")
    send(page)

    alert = form(page).get_by_role("alert")
    expect(alert).to_contain_text("No more feedback can be stored")
    expect(alert).to_contain_text("delete some by its receipt")
    expect(alert.get_by_role("button")).to_have_count(0)
