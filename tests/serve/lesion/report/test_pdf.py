import asyncio
import io
import os
import signal
import socket
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from PIL import Image
from pypdf import PdfReader

from models.images import DEFAULT_LIMITS
from serve.lesion.report import pdf
from serve.lesion.report.pdf import PHOTO_PX, missing_library, pdf_report, report_html, report_photo
from serve.lesion.report.render import render_page
from serve.lesion.schemas import LesionAnswer
from serve.runtime.errors import ApiError
from serve.schemas import DISCLAIMER, Reason
from tests.serve.fakes import picture
from tests.serve.lesion.report.random_answers import answers, not_usable, report_of, usable

PHOTO = report_photo(picture(), limits=DEFAULT_LIMITS)


def never_end() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.05)  # as if the time were over
    while True:
        pass


def read(content: bytes) -> PdfReader:
    return PdfReader(io.BytesIO(content))


def text_of(content: bytes) -> str:
    (page,) = read(content).pages
    return " ".join(page.extract_text().split())


async def test_a_report_is_one_tagged_a4_page_with_title_and_language():
    document = read(await pdf_report(report_of(usable(0.3)), PHOTO))

    catalog: Any = document.trailer["/Root"]
    (page,) = document.pages
    assert [round(float(side)) for side in page.mediabox[2:]] == [595, 842]
    assert catalog["/MarkInfo"]["/Marked"] and catalog["/Lang"] == "en"
    assert catalog["/ViewerPreferences"]["/DisplayDocTitle"]
    assert document.metadata is not None and document.metadata.title == "Report on a photo of a skin lesion"
    assert b'pdfuaid:part="1"' in catalog["/Metadata"].get_data()
    assert len(page.images) == 1


async def test_a_report_states_verdict_thresholds_model_date_request_and_disclaimer():
    text = text_of(await pdf_report(report_of(usable(0.3)), PHOTO))

    for expected in (
        "Verdict: inconclusive",
        "The model gives 30% as the probability that the lesion is malignant.",
        "benign below 20%, inconclusive from 20%, malignant from 50%",
        "near_threshold: the probability is between the thresholds",
        "Nevus benign 70.0%",
        "Melanoma malignant 30.0%",
        "lesion-fake, version 1",
        "0123456789abcdef" * 4,
        "2026-03-01 09:30:00 UTC",
        "4f2a9c",
        DISCLAIMER,
    ):
        assert expected in text


async def test_a_report_of_a_photo_that_is_not_usable_says_so():
    text = text_of(await pdf_report(report_of(not_usable()), PHOTO))

    assert "No verdict: the photo is not usable" in text
    assert "too_dark: the photo is black; take it again in daylight" in text
    assert "Verdict:" not in text


async def test_a_report_without_a_photo_says_that_the_answer_was_not_checked():
    content = await pdf_report(report_of(usable(0.1), is_classified_here=False), None)

    assert "did not check" in text_of(content) and len(read(content).pages[0].images) == 0


@settings(max_examples=15)
@given(answers())
def test_every_report_is_one_page(answer: LesionAnswer):
    content = asyncio.run(pdf_report(report_of(answer), PHOTO))

    assert len(read(content).pages) == 1


def test_texts_of_an_answer_are_escaped():
    script = Reason(code="blurred", message="<script>alert(1)</script><img src='http://127.0.0.1/'>")

    page = report_html(report_of(usable(0.1, reasons=[script])), None)

    assert "<script" not in page and "<img" not in page and "&lt;script&gt;" in page


async def test_a_page_reads_no_address_and_no_file():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/"
        server.settimeout(0.2)
        content = await pdf._call(
            render_page,
            f"<html lang=en><title>x</title><link rel=stylesheet href={address}><img src={address}>"
            f"<link rel=attachment href=file:///etc/hostname><p style='background: url({address})'>text",
        )
        with pytest.raises(TimeoutError):
            server.accept()

    assert text_of(content) == "text" and not read(content).attachments


def test_the_photo_is_upright_reduced_and_without_metadata():
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "Mrs-Secret-Patient"
    file = io.BytesIO()
    Image.new("RGB", (2000, 1000), (200, 120, 100)).save(file, "JPEG", exif=exif)

    photo = report_photo(file.getvalue(), limits=DEFAULT_LIMITS)

    image = Image.open(io.BytesIO(photo))
    assert image.size == (PHOTO_PX // 2, PHOTO_PX) and not image.getexif()
    assert b"Mrs-Secret-Patient" not in photo


async def test_only_the_helper_imports_weasyprint():
    assert await missing_library() is None
    assert "weasyprint" not in sys.modules


@pytest.mark.slow
async def test_a_page_over_its_time_is_rejected_and_the_next_one_is_rendered(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pdf, "MAX_RENDER_S", 0.01)

    with pytest.raises(ApiError, match="the PDF was not ready within") as error:
        await pdf._call(never_end)

    assert error.value.code == "deadline_exceeded"
    assert text_of(await pdf_report(report_of(usable(0.1)), None))


async def test_a_crash_of_the_helper_is_an_internal_error():
    with pytest.raises(RuntimeError, match="the helper process of reports ended"):
        await pdf._call(os.abort)


async def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pdf, "_import_errors", ["cannot load library 'libpango-1.0-0'"])
    assert await missing_library() == "cannot load library 'libpango-1.0-0'"

    monkeypatch.setattr(pdf.importlib.util, "find_spec", lambda name: None)
    assert await missing_library() == "the package weasyprint is not installed"
