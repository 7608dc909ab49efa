"""The languages of the page in headless Chromium: choice, direction, texts of answers and errors."""

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.ui.conftest import (
    TIMEOUT_MS,
    FakeApi,
    check_width,
    lesion_answer,
    not_usable_answer,
    screen_of,
    screens,
)
from tests.ui.series_pages import photo
from tests.ui.test_lesion_in_browser import file_of, jpeg
from ui.page import TABS, tab_labels
from ui.translation import LANGUAGES

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings(
        "ignore:'future.no_silent_downcasting' is deprecated"
    ),  # by Gradio's statistics
]

NARROW = 320
CUT = """
(width) => [...document.querySelectorAll('.skin *')].filter((element) => {
    const { left, right } = element.getBoundingClientRect();
    const scrolls = element.closest('.sr-only, pre, .prose, svg, .photo, figure');
    const isShown = element.checkVisibility() && !scrolls;
    return isShown && (right > width + 1 || left < -1);
}).map((element) => element.outerHTML.slice(0, 160))
"""


@pytest.fixture
def open_page(
    request: pytest.FixtureRequest, chromium: Browser, page_url: str, api: FakeApi
) -> Iterator[Callable[..., Page]]:
    """Return a function that opens the page in a browser with a language of its own."""
    api.reset()
    expect.set_options(timeout=TIMEOUT_MS)
    contexts = []

    def open_in(locale: str = "en-US", *, query: str = "", width: int | None = None) -> Page:
        screen: dict[str, Any] = screen_of(request)
        if width is not None:
            screen["viewport"] = {"width": width, "height": 800}
        context = chromium.new_context(
            **screen, locale=locale, reduced_motion="reduce", service_workers="block"
        )
        context.set_default_timeout(TIMEOUT_MS)
        contexts.append(context)
        page = context.new_page()
        page.goto(page_url + query)
        expect(page.locator("#panel-lesion .photo-input")).to_be_visible()
        return page

    yield open_in
    for context in contexts:
        for page in context.pages:
            check_width(page)
        context.close()


def check_lesion(page: Page) -> None:
    page.locator("#panel-lesion .drop input").set_input_files([file_of(jpeg())])


def tab(page: Page, name: str, language: str) -> None:
    page.get_by_role("tab", name=tab_labels(language)[name]).click()
    expect(page.locator(f"#panel-{name} h2").first).to_be_visible()


@pytest.mark.parametrize(
    ("locale", "language"), [("de-AT", "de"), ("pt-BR", "pt"), ("ar-EG", "ar"), ("fr", "en")]
)
def test_the_browser_chooses_the_language_of_document_tabs_and_answers(open_page, locale: str, language: str):
    page = open_page(locale)

    html = page.locator("html")
    expect(html).to_have_attribute("lang", language)
    expect(html).to_have_attribute("dir", "rtl" if language == "ar" else "ltr")
    expect(page.get_by_role("tab")).to_have_text(list(tab_labels(language).values()))
    check_lesion(page)
    heading = {"de": "Sieht gutartig aus", "pt": "Parece benigna", "ar": "تبدو حميدة", "en": "Looks benign"}
    expect(page.locator(".verdict h3")).to_have_text(heading[language])
    expect(html).to_have_attribute("lang", language)


@screens("open_page")
def test_a_chosen_language_is_in_the_address_and_kept_for_the_next_visit(open_page, page_url: str):
    page = open_page("en-US")
    tab(page, "about", "en")

    page.get_by_label("Language").select_option("Deutsch")
    expect(page).to_have_url(f"{page_url}?lang=de#about")
    expect(page.get_by_role("heading", name="Über skinserve")).to_be_visible()
    expect(page.get_by_label("Sprache")).to_have_value("de")

    page.goto("about:blank")
    page.goto(page_url)
    expect(page).to_have_url(f"{page_url}?lang=de")
    expect(page.get_by_role("tab", name="Verlauf")).to_be_visible()

    page.goto(f"{page_url}?lang=es")
    expect(page.get_by_role("tab", name="Evolución")).to_be_visible()


def test_a_language_stays_in_a_browser_that_keeps_nothing(open_page, page_url: str):
    page = open_page("en-US")
    page.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new Error('blocked'); } })"
    )
    page.reload()

    page.get_by_label("Language").select_option("Português")
    expect(page.get_by_role("tab", name="Evolução")).to_be_visible()
    page.reload()
    expect(page).to_have_url(f"{page_url}?lang=pt")
    expect(page.locator("html")).to_have_attribute("lang", "pt")


@screens("open_page")
def test_unsaved_photos_are_not_lost_when_the_person_stays(open_page):
    page = open_page("en-US")
    check_lesion(page)
    expect(page.locator(".verdict h3")).to_have_text("Looks benign")

    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_label("Language").select_option("Deutsch")

    expect(page.get_by_label("Language")).to_have_value("en")
    expect(page.locator(".verdict h3")).to_have_text("Looks benign")


def test_arrow_keys_follow_the_direction_of_arabic(open_page):
    page = open_page("ar")
    labels = tab_labels("ar")
    page.get_by_role("tab", name=labels["lesion"]).focus()

    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tab", name=labels["progress"])).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name=labels["lesion"])).to_be_focused()


def test_the_gauge_runs_from_right_to_left_in_arabic_and_boxes_stay_on_the_photo(open_page, api: FakeApi):
    page = open_page("ar")
    api.lesion = lesion_answer(malignant=0.02)
    check_lesion(page)
    expect(page.locator(".verdict h3")).to_be_visible()

    gauge, dot = (page.locator(selector).bounding_box() for selector in (".gauge", ".gauge i"))
    photo, box = (page.locator(selector).bounding_box() for selector in (".stage .photo", ".lesion-box"))
    assert gauge and dot and photo and box
    assert dot["x"] > gauge["x"] + 0.9 * gauge["width"]
    assert abs(box["x"] - photo["x"] - photo["width"] * 100 / 320) < 2


@pytest.mark.parametrize(
    ("language", "message"),
    [
        ("en", "Photo 2: cannot be read; send another one."),
        ("de", "Foto 2: Diese Datei kann nicht als Foto gelesen werden."),
    ],
)
def test_errors_of_the_api_are_in_the_language_of_the_page(
    open_page, api: FakeApi, language: str, message: str
):
    page = open_page(query=f"?lang={language}")
    tab(page, "progress", language)
    api.fail(422, "unreadable_image", "photo 2: cannot be read; send another one")
    page.locator("#panel-progress .drop input").set_input_files([photo(0), photo(1)])
    page.locator("#progress-compare").click()

    card = page.locator("#progress-status .error")
    expect(card).to_contain_text(message)
    expect(page.locator(".series-tiles .faulty")).to_have_count(1)


@pytest.mark.parametrize(
    "language",
    [one if one in ("de", "ar") else pytest.param(one, marks=pytest.mark.slow) for one in LANGUAGES],
)
def test_nothing_is_cut_on_the_narrowest_phone(open_page, api: FakeApi, language: str):
    page = open_page(query=f"?lang={language}", width=NARROW)
    api.recorded = [datetime(2026, month, 10, 9) for month in (3, 4)]

    def check(state: str) -> None:
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW, state
        assert page.evaluate(CUT, NARROW) == [], state

    check("lesion")
    for answer in (lesion_answer(), not_usable_answer("too_dark")):
        api.lesion = answer
        check_lesion(page)
        expect(page.locator("#panel-lesion .answer")).to_have_attribute("data-verdict", answer.verdict)
        check(answer.verdict)
        page.locator("[data-again]").click()
    for name in TABS[1:]:
        tab(page, name, language)
        check(name)
    tab(page, "progress", language)
    page.locator("#panel-progress .drop input").set_input_files([photo(0), photo(1)])
    check("photos")
    page.locator("#progress-compare").click()
    expect(page.locator("#progress-answer .answer")).to_be_visible()
    check("series")
    page.locator('#panel-progress [data-view="answer"] [data-action="arrange"]').click()
    expect(page.locator(".arrange-list li")).to_have_count(2)
    check("dates")
    assert re.search(r"\d", page.locator(".arrange-list").inner_text())
