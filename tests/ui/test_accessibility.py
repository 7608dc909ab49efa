"""axe-core on the main states of the page; rarer ones are in ``test_accessibility_of_rare_states.py``."""

from collections.abc import Iterable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from serve.lesion.schemas import LesionAnswer
from serve.schemas import Reason, ReasonCode
from tests.ui.axe_check import AxeCheck
from tests.ui.axe_check import check as check
from tests.ui.conftest import RECEIPT, FakeApi, lesion_answer, not_usable_answer, progress_answer
from tests.ui.series_pages import MARCH, SPOILED, add, answered, compare, photo
from tests.ui.test_feedback_in_browser import agree, form, open_form, send
from tests.ui.test_history_in_browser import keep_lesion, open_history
from tests.ui.test_lesion_in_browser import add as add_lesion
from tests.ui.test_lesion_in_browser import jpeg, verdict

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings(
        "ignore:'future.no_silent_downcasting' is deprecated"
    ),  # by Gradio's statistics
]


def first_is_fast(names: Iterable[str]) -> list[Any]:
    """Mark all but the first parameter as slow."""
    first, *others = names
    return [first, *(pytest.param(name, marks=pytest.mark.slow) for name in others)]


def test_states_of_the_lesion_tab_before_an_answer(page: Page, api: FakeApi, check: AxeCheck):
    check("no photo")
    add_lesion(page, b"")
    expect(page.locator("#panel-lesion .problem")).to_be_visible()
    check("an empty file")

    page.route("**/v1/lesion*", lambda route: None)
    add_lesion(page, jpeg(colour="black"))
    expect(page.get_by_role("heading", name="Classifying the photo")).to_be_visible()
    expect(page.locator("#panel-lesion .hint:visible")).to_have_text("More light: the picture is dark.")
    check("working, with a hint")
    page.get_by_role("button", name="Cancel").click()
    page.unroute("**/v1/lesion*")

    page.route("**/v1/lesion*", lambda route: route.abort())
    add_lesion(page)
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    check("no server")


LESION_ANSWERS: dict[str, LesionAnswer] = {
    "Looks benign": lesion_answer(weaknesses=("several_lesions",)),
    "Looks benign, but the photo is too blurred to rely on": lesion_answer(weaknesses=("blurred",)),
    "Have it checked": lesion_answer(malignant=0.8),
    "Inconclusive": lesion_answer(benign_threshold=0.05),
}


@pytest.mark.parametrize("title", first_is_fast(LESION_ANSWERS))
def test_answers_of_the_lesion_tab(page: Page, api: FakeApi, check: AxeCheck, title: str):
    api.lesion = LESION_ANSWERS[title]
    add_lesion(page)
    expect(page.locator("#panel-lesion .answer .verdict h3")).to_have_text(title)
    page.get_by_text("Where the network looked").click()
    for summary in page.locator("#panel-lesion .answer summary:visible").all():
        summary.click()
    check("answer with all details")


def test_photos_of_lesions_that_are_not_usable(page: Page, api: FakeApi, check: AxeCheck):
    api.lesion = not_usable_answer("too_small", "blurred")
    add_lesion(page)
    expect(page.locator("#panel-lesion .answer h3").first).to_be_visible()
    check("not usable")


def test_states_of_the_progress_tab_before_an_answer(page: Page, api: FakeApi, check: AxeCheck):
    page.get_by_role("tab", name="Progress").click()
    expect(page.get_by_role("button", name="Compare", exact=True)).to_be_visible()
    check("no photo")
    add(page, [photo(0), SPOILED, photo(1)])
    expect(page.locator(".series-tiles .faulty")).to_be_visible()
    compare(page)
    expect(page.locator("#progress-status").get_by_role("alert")).to_be_visible()
    check("a file that cannot be read")

    page.get_by_role("button", name="Leave it out and compare").click()
    expect(page.get_by_role("heading", name="When were these photos taken?")).to_be_focused()
    page.get_by_role("button", name="Move photo 2 earlier").click()
    check("dates and order")

    page.route("**/v1/progress", lambda route: None)
    page.get_by_label("Date of photo 1", exact=True).fill("2026-04-10")
    page.get_by_label("Date of photo 2", exact=True).fill("2026-03-01")
    expect(page.get_by_text("By their dates, this order is wrong.")).to_be_visible()
    check("dates against the order")
    page.get_by_role("button", name="Compare by these dates").click()
    expect(page.get_by_role("heading", name="Comparing the photos")).to_be_visible()
    check("working")


PROGRESS_ANSWERS: dict[str, tuple[float, tuple[ReasonCode, ...]]] = {
    "Improved": (0.83, ()),
    "Worsened": (0.1, ()),
    "Inconclusive": (0.5, ("different_people", "few_faces")),
}


@pytest.mark.parametrize("verdict", first_is_fast(PROGRESS_ANSWERS))
def test_answers_of_the_progress_tab(page: Page, api: FakeApi, check: AxeCheck, verdict: str):
    improved, codes = PROGRESS_ANSWERS[verdict]
    answer = progress_answer(3, improved=improved, without_face=(1,))
    photos = [one.model_copy(update={"taken_at": MARCH}) for one in answer.photos]
    update: dict[str, Any] = {"photos": photos, "order": "exif"}
    if codes:
        reasons = [Reason(code=code, message=f"found {code}; do something") for code in codes]
        update |= {"reasons": reasons, "verdict": "inconclusive"}
    api.progress = answer.model_copy(update=update)
    page.get_by_role("tab", name="Progress").click()
    add(page, [photo(number) for number in range(3)])
    compare(page)
    answered(page, verdict)
    for summary in page.locator("#progress-answer summary:visible").all():
        summary.click()
    page.get_by_role("radio", name="Slider" if verdict == "Improved" else "Side by side").check()
    check("answer with all details")


def test_about_with_all_details(page: Page, check: AxeCheck):
    page.get_by_role("tab", name="About").click()
    expect(page.locator("#panel-about .model")).to_have_count(2)
    for summary in page.locator("#panel-about summary:visible").all():
        summary.click()
    check("about")


def test_the_feedback_form_and_the_requests_of_programs(page: Page, api: FakeApi, check: AxeCheck):
    open_form(page, api)
    page.locator(".programs:visible summary").click()
    check("form and requests")
    agree(page)
    form(page).get_by_label("Yes", exact=True).check()
    send(page)
    expect(page.get_by_text(RECEIPT)).to_be_visible()
    check("receipt")


def test_the_frame_of_the_lesion_and_earlier_answers(page: Page, api: FakeApi, check: AxeCheck):
    add_lesion(page)
    expect(verdict(page)).to_be_visible()
    page.get_by_role("button", name="Frame the lesion yourself").click()
    expect(page.get_by_role("dialog", name="Frame the lesion")).to_be_visible()
    check("frame")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Check another photo").first.click()
    expect(page.locator("#panel-lesion .earlier li")).to_have_count(1)
    check("earlier answers")


def test_states_of_the_history(page: Page, api: FakeApi, check: AxeCheck):
    open_history(page)
    check("empty")
    page.get_by_role("tab", name="Lesion").click()
    keep_lesion(page, api, "left arm", 0.12)
    open_history(page)
    page.get_by_role("button", name="Export").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    check("export")
    page.keyboard.press("Escape")
    page.locator("[data-action=open]").first.click()
    expect(page.get_by_role("button", name="Back to the history")).to_be_visible()
    check("an entry")
    page.get_by_role("button", name="Back to the history").click()
    expect(page.locator(".history-group")).to_be_visible()
    check("one lesion")


def test_the_page_in_arabic(page: Page, api: FakeApi, check: AxeCheck):
    page.goto(f"{page.url}?lang=ar")
    expect(page.locator("#panel-lesion .photo-input")).to_be_visible()
    add_lesion(page)
    expect(verdict(page)).to_be_visible()
    check("answer")
