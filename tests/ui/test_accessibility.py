"""axe-core on the states of the page: light and dark, at 320 and 1280 px."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from serve.lesion.schemas import LesionAnswer
from serve.schemas import Reason, ReasonCode
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

AXE = Axe()
WIDTHS_PX = (1280, 320)
ALL_RULES: dict[str, Any] = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
COLOUR_RULES: dict[str, Any] = {"resultTypes": ["violations"], "runOnly": ["color-contrast"]}
"""The other rules find the same in light and dark."""
SCHEMES: dict[Literal["light", "dark"], dict[str, Any]] = {"light": ALL_RULES, "dark": COLOUR_RULES}

Check = Callable[[str], None]


def first_is_fast(names: Iterable[str]) -> list[Any]:
    """Mark all but the first parameter as slow."""
    first, *others = names
    return [first, *(pytest.param(name, marks=pytest.mark.slow) for name in others)]


@pytest.fixture(params=["sample", pytest.param("all", marks=pytest.mark.slow)])
def check(page: Page, request: pytest.FixtureRequest) -> Iterator[Check]:
    """Return a function that checks the state of the page; the test fails at its end, with all findings.

    The colours of a scheme are the same at both widths: all rules at 320 px in light and the contrast at
    1280 px in dark find nearly all.
    """
    findings: list[str] = []
    left_out = {(1280, "light"), (320, "dark")} if request.param == "sample" else set()

    def look(state: str) -> None:
        for width_px in WIDTHS_PX:
            page.set_viewport_size({"width": width_px, "height": 900})
            for scheme, options in SCHEMES.items():
                if (width_px, scheme) in left_out:
                    continue
                page.emulate_media(color_scheme=scheme)
                findings.extend(
                    f"{state}, {width_px} px, {scheme}: {one}" for one in _violations(page, options)
                )
            scrolled = page.evaluate("document.documentElement.scrollWidth")
            if scrolled > width_px:
                findings.append(f"{state}, {width_px} px: {scrolled} px wide")
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": WIDTHS_PX[0], "height": 900})

    yield look
    assert findings == []


def _violations(page: Page, options: dict[str, Any]) -> list[str]:
    return [
        f"{rule['id']} ({rule['impact']}): {node['html'][:200]} {node['failureSummary']}"
        for rule in AXE.run(page, options=options).response["violations"]
        for node in rule["nodes"]
    ]


def test_states_of_the_lesion_tab_before_an_answer(page: Page, api: FakeApi, check: Check):
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
    "Looks benign": lesion_answer(weaknesses=("several_lesions", "blurred")),
    "Have it checked": lesion_answer(malignant=0.8),
    "Inconclusive": lesion_answer(benign_threshold=0.05),
}


@pytest.mark.parametrize("title", first_is_fast(LESION_ANSWERS))
def test_answers_of_the_lesion_tab(page: Page, api: FakeApi, check: Check, title: str):
    api.lesion = LESION_ANSWERS[title]
    add_lesion(page)
    expect(page.locator("#panel-lesion .answer .verdict h3")).to_have_text(title)
    page.get_by_text("Where the network looked").click()
    for summary in page.locator("#panel-lesion .answer summary:visible").all():
        summary.click()
    check("answer with all details")


def test_photos_of_lesions_that_are_not_usable(page: Page, api: FakeApi, check: Check):
    api.lesion = not_usable_answer("too_small", "blurred")
    add_lesion(page)
    expect(page.locator("#panel-lesion .answer h3").first).to_be_visible()
    check("not usable")


def test_states_of_the_progress_tab_before_an_answer(page: Page, api: FakeApi, check: Check):
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
def test_answers_of_the_progress_tab(page: Page, api: FakeApi, check: Check, verdict: str):
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


def test_about_with_all_details(page: Page, check: Check):
    page.get_by_role("tab", name="About").click()
    expect(page.locator("#panel-about .model")).to_have_count(2)
    for summary in page.locator("#panel-about summary:visible").all():
        summary.click()
    check("about")


def test_the_feedback_form_and_the_requests_of_programs(page: Page, api: FakeApi, check: Check):
    open_form(page, api)
    page.locator(".programs:visible summary").click()
    check("form and requests")
    agree(page)
    form(page).get_by_label("Yes", exact=True).check()
    send(page)
    expect(page.get_by_text(RECEIPT)).to_be_visible()
    check("receipt")


def test_the_frame_of_the_lesion_and_earlier_answers(page: Page, api: FakeApi, check: Check):
    add_lesion(page)
    expect(verdict(page)).to_be_visible()
    page.get_by_role("button", name="Frame the lesion yourself").click()
    expect(page.get_by_role("dialog", name="Frame the lesion")).to_be_visible()
    check("frame")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Check another photo").first.click()
    expect(page.locator("#panel-lesion .earlier li")).to_have_count(1)
    check("earlier answers")


def test_states_of_the_history(page: Page, api: FakeApi, check: Check):
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


def test_the_page_in_arabic(page: Page, api: FakeApi, check: Check):
    page.goto(f"{page.url}?lang=ar")
    expect(page.locator("#panel-lesion .photo-input")).to_be_visible()
    add_lesion(page)
    expect(verdict(page)).to_be_visible()
    check("answer")
