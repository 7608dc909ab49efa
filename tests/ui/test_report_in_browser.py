"""The printed report in headless Chromium: one tagged page in each language."""

import io
import json
import re
import subprocess
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pypdf
import pytest
from playwright.sync_api import Browser, Page, expect

from serve.lesion.schemas import LesionAnswer
from serve.progress.schemas import ProgressAnswer
from serve.schemas import DISCLAIMER, ModelName, Reason
from tests.ui.conftest import (
    TIMEOUT_MS,
    FakeApi,
    lesion_answer,
    not_usable_answer,
    on_every_screen,
    progress_answer,
)
from tests.ui.test_history_in_browser import keep
from tests.ui.test_lesion_in_browser import add, file_of, jpeg, verdict
from ui.page import tab_labels
from ui.translation import LANGUAGES, translations

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings(
        "ignore:'future.no_silent_downcasting' is deprecated"
    ),  # by Gradio's statistics
]

COUNT_PRINTS = """
() => {
    const { dataset } = document.documentElement;
    dataset.printed = '0';
    window.print = () => { dataset.printed = String(Number(dataset.printed) + 1); };
}
"""
PAPER = {"A4": (595, 842), "Letter": (612, 792)}
"""Size of the paper in points."""
SHAPED = ("hi", "ar")
LONG_LABEL, LONG_NAME = "W" * 60, f"{'W' * 250}.jpg"
ARABIC_LABEL = "ذراعي اليسرى"
LONG_DIAGNOSES = (
    ("Atypical Melanocytic Proliferation", "malignant"),
    ("Squamous Cell Carcinoma", "malignant"),
    ("Basal Cell Carcinoma", "malignant"),
    ("Melanoma Metastasis", "malignant"),
    ("Pigmented Benign Keratosis", "benign"),
    ("Clear Cell Acanthoma", "benign"),
    ("Seborrheic Keratosis", "benign"),
    ("Lichenoid Keratosis", "benign"),
)
EVERY_LANGUAGE = pytest.mark.parametrize(
    "language",
    [one if one in ("en", "ar") else pytest.param(one, marks=pytest.mark.slow) for one in LANGUAGES],
)


@on_every_screen
def test_the_report_of_a_lesion_is_one_tagged_page(page: Page, api: FakeApi):
    api.lesion = lesion_answer(malignant=0.5, weaknesses=("blurred", "too_dark"))
    add(page)
    keep(page, "Left arm")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method != "GET" else None)

    print_report(page, "lesion")
    expect(page.locator("#report")).to_be_hidden()
    picture = page.locator("#report img")
    expect(picture).to_have_attribute("src", re.compile("^data:image/jpeg"))
    text = pdf_text(page)

    advice = "Make an appointment with a doctor now"
    for found in (
        "Have it checked",
        "50%",
        "Malignant from 35%",
        "About 5 in 10 lesions that look like this",
        "a.jpg",
        "lesion-reference, version 1",
        "Left arm",
        advice,
    ):
        assert found in text
    assert sent == [], "the photo stays on the device"
    assert page.evaluate("new Intl.DateTimeFormat('en', { dateStyle: 'long' }).format()") in text
    expect(verdict(page)).to_be_visible()
    page.mouse.click(2, 2)
    expect(page.locator("#report")).to_have_count(0)


@EVERY_LANGUAGE
def test_the_fullest_report_of_a_lesion_is_one_page(open_in, api: FakeApi, language: str):
    page = open_in(language)
    api.lesion = worst_lesion()
    add(page, jpeg((320, 240)), name=LONG_NAME)
    expect(verdict(page)).to_be_visible()
    keep(page, LONG_LABEL)

    for paper in PAPER:
        print_report(page, "lesion")
        sheet = printed(page, language, paper)
        assert [picture.image.size for picture in sheet.images if picture.image] == [(320, 240)]
        check_text(sheet, language, "Looks benign")
        assert sheet.extract_text().count("W") >= (LONG_LABEL + LONG_NAME).count("W")


@EVERY_LANGUAGE
def test_the_fullest_report_of_a_series_is_one_page(open_in, api: FakeApi, language: str):
    page = open_in(language)
    api.progress = worst_series()
    compare_thirty(page, language)
    keep(page, LONG_LABEL, "progress")

    for paper in PAPER:
        print_report(page, "progress")
        sheet = printed(page, language, paper)
        assert len(sheet.images) == 30
        check_text(sheet, language, "Improved")


@pytest.mark.slow
def test_what_does_not_fit_on_a_page_is_not_cut(page: Page, api: FakeApi):
    long = "the photo is blurred; " + "take it again, and tap on the face to focus on it, " * 12
    reasons = [Reason(code="blurred", message=f"photo {n}: {long}") for n in range(1, 31)]
    api.progress = worst_series().model_copy(update={"reasons": reasons})
    compare_thirty(page)
    print_report(page, "progress")

    content = page.pdf(format="Letter", tagged=True, prefer_css_page_size=True)
    sheets = pypdf.PdfReader(io.BytesIO(content), strict=True).pages

    text = words(" ".join(sheet.extract_text() for sheet in sheets))
    assert len(sheets) == 2
    assert text.count("take it again") == 30 * 12 and text.endswith(DISCLAIMER)


def test_an_arabic_name_stands_between_the_date_and_the_file(page: Page):
    add(page)
    keep(page, ARABIC_LABEL)
    print_report(page, "lesion")

    text = unicodedata.normalize("NFKC", words(printed(page).extract_text()))
    line = re.search(r"[AP]M · (.+?) · a\.jpg", text)

    assert line is not None and letters(line[1]) == letters(ARABIC_LABEL)


@pytest.fixture
def open_in(chromium: Browser, page_url: str, api: FakeApi) -> Iterator[Callable[[str], Page]]:
    """Return a function that opens the page in a language."""
    api.reset()
    expect.set_options(timeout=TIMEOUT_MS)
    context = chromium.new_context(reduced_motion="reduce", service_workers="block")
    context.set_default_timeout(TIMEOUT_MS)

    def open_page(language: str) -> Page:
        page = context.new_page()
        page.goto(f"{page_url}?lang={language}")
        expect(page.locator("#panel-lesion .photo-input")).to_be_visible()
        return page

    yield open_page
    context.close()


def print_report(page: Page, panel: str) -> None:
    page.evaluate(COUNT_PRINTS)
    page.locator(f"#panel-{panel} [data-action=report]").click()
    expect(page.locator("html")).to_have_attribute("data-printed", "1")


def printed(page: Page, language: str = "en", paper: str = "A4") -> pypdf.PageObject:
    """Print the report as PDF; check that it is one tagged page."""
    content = page.pdf(format=paper, tagged=True, prefer_css_page_size=True)
    reader = pypdf.PdfReader(io.BytesIO(content), strict=True)
    root, about = reader.root_object, reader.metadata
    mark: Any = root["/MarkInfo"]
    assert mark["/Marked"] and "/StructTreeRoot" in root and root["/Lang"] == language
    name = translations(language).gettext("skinserve report {date}").partition("{")[0]
    assert about is not None and str(about.title).startswith(f"{name}20")
    (sheet,) = reader.pages
    assert [float(side) for side in sheet.mediabox[2:]] == pytest.approx(PAPER[paper], abs=1)
    return sheet


def pdf_text(page: Page) -> str:
    """Print the report of a page in English as PDF; return its text."""
    text = words(printed(page).extract_text())
    assert "not a medical device. It can be wrong." in text
    return text


def check_text(sheet: pypdf.PageObject, language: str, verdict: str) -> None:
    """Check that a report has its verdict and, at its end, the whole disclaimer.

    The text of a PDF with shaped letters is in visual order and may lack a ligature: letters are counted.
    """
    gettext = translations(language).gettext
    lines = sheet.extract_text().splitlines()
    verdict, disclaimer = gettext(verdict), gettext(DISCLAIMER)
    if language not in SHAPED:
        assert verdict in lines and words(" ".join(lines)).endswith(disclaimer)
    elif has_font(language):
        assert letters(verdict) in map(letters, lines)
        needed, found = letters(disclaimer), letters(" ".join(lines[-3:]))
        assert (needed & found).total() >= 0.85 * needed.total()


def letters(text: str) -> Counter[str]:
    """Count the letters of a text, whatever their order and form."""
    return Counter(
        letter for letter in unicodedata.normalize("NFKC", text) if unicodedata.category(letter)[0] in "LM"
    )


def test_a_photo_that_is_not_usable_has_json_but_nothing_to_print_or_keep(page: Page, api: FakeApi):
    api.lesion = not_usable_answer("not_skin")
    add(page)
    panel = page.locator("#panel-lesion")
    expect(panel.locator(".keep button")).to_have_text(["Save as JSON"])

    with page.expect_download() as download:
        panel.get_by_role("button", name="Save as JSON").click()
    assert json.loads(download.value.path().read_text()) == json.loads(api.lesion.model_dump_json())


def test_only_the_report_of_a_malignant_verdict_says_how_soon(page: Page, api: FakeApi):
    for malignant in (0.8, 0.12):
        api.lesion = lesion_answer(malignant=malignant)
        add(page)
        expect(verdict(page)).to_be_visible()
        print_report(page, "lesion")
        text = pdf_text(page)
        assert ("within two weeks" in text and "nice.org.uk/guidance/ng12" in text) is (malignant > 0.5)
        assert "What a photo cannot show The network sees one photo." in text
        page.locator("[data-again]").click()


def has_font(language: str) -> bool:
    """Return whether this machine can draw a language (Debian: fonts-lohit-deva for Hindi)."""
    listed = subprocess.run(["fc-list", f":lang={language}"], capture_output=True, text=True, check=True)
    return bool(listed.stdout.strip())


def compare_thirty(page: Page, language: str = "en") -> None:
    page.get_by_role("tab", name=tab_labels(language)["progress"]).click()
    page.locator("#panel-progress .drop input").set_input_files(
        [file_of(jpeg((240, 320 + n) if n % 2 else (320 + n, 240)), name=f"{n}.jpg") for n in range(30)]
    )
    page.locator("[data-action=compare-order]").click()
    expect(page.locator("#progress-answer .answer")).to_be_visible()


def words(text: str) -> str:
    return " ".join(text.split())


def worst_lesion() -> LesionAnswer:
    """Return an answer with all that a report can hold: two cautions, heads that disagree, an error rate."""
    scores = tuple((*diagnosis, 0.2 - 0.02 * place) for place, diagnosis in enumerate(LONG_DIAGNOSES))
    answer = lesion_answer(
        malignant=0.1, benign_threshold=0.3, scores=scores, weaknesses=("too_dark", "several_lesions")
    )
    return answer.model_copy(
        update={"model": ModelName(name="lesion-reference-of-the-clinic", version="2026-11-27")}
    )


def worst_series() -> ProgressAnswer:
    """Return an answer for thirty blurred photos in different light, reordered by their dates."""
    answer = progress_answer(30, without_face=(3, 17))
    photos = [
        photo.model_copy(update={"taken_at": datetime(2026, 1, 1 + n, 9, tzinfo=UTC), "index": (n + 7) % 30})
        for n, photo in enumerate(answer.photos)
    ]
    light = (
        "the face in photo 1 is 2.7 times as bright as that in photo 3; different light can look like a "
        "change of the skin, compare photos in the same light"
    )
    blurred = "the photo is blurred; take it again, and tap on the face to focus on it"
    reasons = [Reason(code="light_differs", message=light)]
    reasons += [Reason(code="blurred", message=f"photo {n}: {blurred}") for n in range(1, 31)]
    return answer.model_copy(update={"photos": photos, "reasons": reasons, "order": "taken_at"})
