"""Every reason of an answer in headless Chromium, on a desktop and a phone, with screenshots."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Locator, Page, expect

from samples.lesion import draw_lesion
from samples.series import draw_series
from serve.lesion.schemas import LesionAnswer
from serve.schemas import ReasonCode
from tests.ui.conftest import TIMEOUT_MS, FakeApi
from tests.ui.reason_cases import CODES, REASON_CASES, ReasonCase
from tests.ui.screens import DESK, PHONE, assert_readable, opened
from tests.ui.test_lesion_in_browser import file_of
from ui.translation import translations

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated"),  # by Gradio
]

NO_FINDING_SHOWN = frozenset[ReasonCode](
    {"blurred", "several_lesions", "near_threshold", "times_missing", "no_clear_change"}
)
"""For these the page has its own words, or numbers in another place."""
MIN_DRAWING_TEXT_PX = 120


@pytest.fixture(params=[(DESK, "en"), (PHONE, "en"), (PHONE, "ar")], ids=["desk", "phone", "phone-ar"])
def page(
    request: pytest.FixtureRequest, chromium: Browser, page_url: str, api: FakeApi
) -> Iterator[tuple[Page, str]]:
    """Open the page on a screen in a language."""
    api.reset()
    screen, language = request.param
    with opened(chromium, f"{page_url}?lang={language}", screen, TIMEOUT_MS) as page:
        yield page, language


@pytest.fixture(scope="module")
def lesion() -> list[FilePayload]:
    return [_file(draw_lesion(seed=3))]


@pytest.fixture(scope="module")
def faces() -> list[FilePayload]:
    return [_file(photo) for photo in draw_series(improving=True, num_photos=3, seed=5)]


def _file(picture: Image.Image) -> FilePayload:
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=90)
    return file_of(content.getvalue())


def test_every_reason_has_a_case():
    assert set(REASON_CASES) == set(CODES)


@pytest.mark.slow
@pytest.mark.parametrize("code", CODES)
def test_a_reason_is_shown_with_what_to_do(
    page: tuple[Page, str],
    code: ReasonCode,
    api: FakeApi,
    lesion: list[FilePayload],
    faces: list[FilePayload],
    tmp_path: Path,
):
    tab, language = page
    case = REASON_CASES[code]
    panel = show_lesion(tab, api, case, lesion) if _is_lesion(case) else show_series(tab, api, case, faces)

    heading, advice = (_in_language(text, language) for text in (case.heading, case.advice))
    expect(panel.locator("h3:visible").filter(has_text=heading).first).to_be_visible()
    expect(panel).to_contain_text(advice)
    if language == "en" and code not in NO_FINDING_SHOWN:
        expect(panel).to_contain_text(case.finding)
    if language != "en":
        expect(panel).not_to_contain_text(case.heading)
        expect(panel).not_to_contain_text(case.finding or case.advice)
    for summary in panel.locator(".answer > .card summary:visible").all():
        summary.click()
    assert_readable(tab)
    for text in panel.locator(".drawings p").all():
        assert text.evaluate("text => text.clientWidth") >= MIN_DRAWING_TEXT_PX, "a word a line"
    tab.screenshot(path=tmp_path / f"{code}_{language}_{tab.evaluate('innerWidth')}.png", full_page=True)


def _is_lesion(case: ReasonCase) -> bool:
    return isinstance(case.answer, LesionAnswer)


def _in_language(text: str, language: str) -> str:
    return translations(language).gettext(text)


def show_lesion(page: Page, api: FakeApi, case: ReasonCase, photos: list[FilePayload]) -> Locator:
    panel: Any = page.locator("#panel-lesion")
    api.lesion = case.answer  # type: ignore[assignment]
    panel.locator(".drop input").set_input_files(photos)
    expect(panel.locator(".answer .verdict h3")).to_be_visible()
    return panel


def show_series(page: Page, api: FakeApi, case: ReasonCase, photos: list[FilePayload]) -> Locator:
    panel: Any = page.locator("#panel-progress")
    api.progress = case.answer  # type: ignore[assignment]
    page.locator("#tabs [role=tab][aria-controls=panel-progress]").click()
    panel.locator(".drop input").set_input_files(photos)
    expect(panel.locator(".series-tiles li")).to_have_count(len(photos))
    page.locator("#progress-compare").click()
    expect(panel.locator(".answer .verdict h3, [data-view=arrange]:visible h3").first).to_be_visible()
    return panel
