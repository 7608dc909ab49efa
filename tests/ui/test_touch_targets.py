"""Fingers: what can be pressed on a phone has 44 px, in the states that follow the first view."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.ui.conftest import PHONE, TIMEOUT_MS, FakeApi, lesion_answer, not_usable_answer
from tests.ui.test_feedback_in_browser import agree, form, open_form, send
from tests.ui.test_history_in_browser import history, keep, open_history
from tests.ui.test_lesion_in_browser import add, tab, verdict
from tests.ui.touch_targets import small_targets

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated"),  # by Gradio
]

Check = Callable[[str], None]


@pytest.fixture
def phone(chromium: Browser, page_url: str, api: FakeApi) -> Iterator[Page]:
    api.reset()
    context = chromium.new_context(
        viewport=PHONE, has_touch=True, is_mobile=True, reduced_motion="reduce", service_workers="block"
    )
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    page.goto(page_url)
    expect(tab(page).locator(".drop")).to_be_visible()
    yield page
    context.close()


@pytest.fixture
def check(phone: Page) -> Iterator[Check]:
    """Return a function that measures a state; the test fails at its end, with all findings."""
    found: list[str] = []
    yield lambda state: found.extend(f"{state}: {target}" for target in small_targets(phone))
    assert found == []


def open_all(page: Page, panel: str) -> None:
    for summary in page.locator(f"{panel} summary:visible").all():
        summary.click()


def check_dialog(page: Page, check: Check, name: str) -> None:
    """Measure a dialog that opens, and close it."""
    dialog = page.locator("dialog[open]")
    expect(dialog).to_be_visible()
    check(name)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_the_measurement_finds_small_targets(phone: Page):
    phone.evaluate(
        """() => {
            const html = '<button>a</button><label><input></label><p>in a sentence <a href="#">b</a></p>';
            document.body.insertAdjacentHTML("beforeend", html);
            for (const one of document.querySelectorAll("body > button, body > label")) {
                one.style.cssText = "display: inline-block; padding: 0; width: 60px; height: 43px";
            }
        }"""
    )

    assert [target.split(": ")[0] for target in small_targets(phone)] == ["60 x 43", "60 x 43"]


@pytest.mark.parametrize("malignant", [0.12, 0.8])
def test_an_answer_about_a_lesion_and_its_dialogs(phone: Page, api: FakeApi, check: Check, malignant: float):
    api.lesion = lesion_answer(malignant=malignant, weaknesses=("several_lesions", "blurred"))
    check("first view")
    add(phone)
    expect(verdict(phone)).to_be_visible()
    phone.get_by_text("Where the network looked").click()
    open_all(phone, "#panel-lesion")
    check("answer with all details")

    tab(phone).locator("[data-crop]").click()
    check_dialog(phone, check, "frame")
    tab(phone).locator("[data-action=keep]").click()
    check_dialog(phone, check, "keep")
    keep(phone, "Left arm")
    check("kept")
    phone.locator("[data-again]").click()
    check("earlier answers")


def test_a_photo_of_a_lesion_that_is_not_usable(phone: Page, api: FakeApi, check: Check):
    api.lesion = not_usable_answer("not_skin")
    add(phone)
    expect(verdict(phone)).to_be_visible()
    open_all(phone, "#panel-lesion")
    check("not usable")


def test_feedback(phone: Page, api: FakeApi, check: Check):
    open_form(phone, api)
    check("empty form")
    form(phone).get_by_label("No", exact=True).check()
    form(phone).get_by_label("What did a doctor find?").select_option(label="Something else")
    form(phone).get_by_label("The finding in a few words").fill("a wart")
    check("form with words")
    agree(phone)
    send(phone)
    expect(form(phone).locator("code")).to_be_visible()
    check("receipt")


def test_history_and_its_dialogs(phone: Page, api: FakeApi, check: Check):
    open_form(phone, api)
    keep(phone, "Left arm")
    groups = open_history(phone)
    check("list")
    for name in ("Export", "Delete all", "Delete: Left arm,"):
        phone.get_by_role("button", name=name).click()
        check_dialog(phone, check, name)

    groups.locator("[data-action=open]").click()
    expect(history(phone).locator(".answer .verdict h3")).to_be_visible()
    open_all(phone, "#panel-history")
    expect(form(phone).get_by_text("Was the answer right?")).to_be_visible()
    check("entry")
    phone.get_by_role("button", name="Change the name").click()
    check_dialog(phone, check, "change the name")
