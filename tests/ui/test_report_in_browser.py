"""Report and JSON of an answer in headless Chromium; nothing of them reaches a server."""

import io
import json
import re

import pypdf
import pytest
from playwright.sync_api import Page, expect
from pypdf.generic import DictionaryObject

from serve.runtime.languages import LANGUAGES
from tests.ui.conftest import (
    DIAGNOSES,
    FakeApi,
    lesion_answer,
    not_usable_answer,
    on_every_screen,
    progress_answer,
)
from tests.ui.test_history_in_browser import keep
from tests.ui.test_lesion_in_browser import add, file_of, jpeg, verdict

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated"),  # by Gradio
]

A4_PX = 688
"""Width of A4 without its margins, 182 mm."""
COUNT_PRINTS = """
() => {
    window.print = () => {
        const { dataset } = document.documentElement;
        dataset.printed = String(Number(dataset.printed ?? 0) + 1);
    };
}
"""


def test_json_is_the_answer_of_the_api(page: Page, api: FakeApi):
    add(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as JSON").click()

    assert json.loads(download.value.path().read_text()) == json.loads(api.lesion.model_dump_json())
    assert download.value.suggested_filename.startswith("skinserve-lesion-20")


def pdf_text(page: Page) -> str:
    """Print the report as PDF; check that it is one tagged page."""
    reader = pypdf.PdfReader(
        io.BytesIO(page.pdf(format="A4", tagged=True, prefer_css_page_size=True)), strict=True
    )
    root, about = reader.root_object, reader.metadata
    mark = root["/MarkInfo"]
    assert len(reader.pages) == 1 and "/StructTreeRoot" in root
    assert isinstance(mark, DictionaryObject) and mark["/Marked"] and root["/Lang"] == "en"
    assert about is not None and str(about.title).startswith("skinserve report 20")
    text = reader.pages[0].extract_text()
    assert "not a medical device. It can be wrong." in " ".join(text.split())
    return " ".join(text.split())


def print_report(page: Page, panel: str) -> None:
    page.evaluate(COUNT_PRINTS)
    page.locator(f"#panel-{panel}").get_by_role("button", name="Print or save as PDF").click()
    expect(page.locator("html")).to_have_attribute("data-printed", "1")


@on_every_screen
def test_the_report_of_a_lesion_is_one_tagged_page(page: Page, api: FakeApi):
    api.lesion = lesion_answer(malignant=0.5, weaknesses=("blurred", "too_dark"))
    add(page)
    keep(page, "Left arm")

    print_report(page, "lesion")
    expect(page.locator("#report")).to_be_hidden()
    picture = page.locator("#report img")
    expect(picture).to_have_attribute("src", re.compile("^data:image/jpeg"))
    text = pdf_text(page)

    advice = "have it examined soon"
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
    assert page.evaluate("new Intl.DateTimeFormat('en', { dateStyle: 'long' }).format()") in text
    expect(verdict(page)).to_be_visible()
    page.mouse.click(2, 2)
    expect(page.locator("#report")).to_have_count(0)


def test_the_report_of_thirty_photos_is_one_page(page: Page, api: FakeApi):
    api.progress = progress_answer(30)
    page.get_by_role("tab", name="Progress").click()
    page.locator("#panel-progress .drop input").set_input_files(
        [file_of(jpeg((240, 320) if n % 2 else (320, 240)), name=f"{n}.jpg") for n in range(30)]
    )
    page.locator("#progress-compare").click()
    page.locator("[data-action=keep-order]").click()

    print_report(page, "progress")
    text = pdf_text(page)

    assert "Improved from 50%" in text and "progress-reference, version 1" in text
    assert text.count("no date") == 30


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


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_longest_report_of_a_lesion_fits_on_its_page(page: Page, api: FakeApi, language: str):
    """With three cautions, outputs that disagree, eight diagnoses and a portrait photo."""
    scores = [(name, group, 0.3 if group == "benign" else 0.05) for name, group, _ in DIAGNOSES]
    scores.append(("Squamous Cell Carcinoma", "malignant", 0.01))
    weaknesses = ("several_lesions", "blurred", "too_dark")
    api.lesion = lesion_answer(malignant=0.8, scores=tuple(scores), weaknesses=weaknesses)
    page.goto(f"{page.url.partition('#')[0]}?lang={language}")
    add(page, jpeg((600, 900)))
    keep(page, "x" * 60)
    page.evaluate(COUNT_PRINTS)
    page.locator("#panel-lesion [data-action=report]").click()
    expect(page.locator("html")).to_have_attribute("data-printed", "1")
    pdf = page.pdf(format="A4", tagged=True, prefer_css_page_size=True)
    assert len(pypdf.PdfReader(io.BytesIO(pdf)).pages) == 1

    page.emulate_media(media="print")
    page.set_viewport_size({"width": A4_PX, "height": 1000})
    report = page.locator("#report")
    height, shown = report.evaluate("report => [report.scrollHeight, report.clientHeight]")
    assert height <= shown, "nothing is cut off"
    assert report.evaluate("report => report.scrollWidth <= report.clientWidth")
    page.emulate_media(media="screen")
