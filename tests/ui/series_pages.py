"""The Progress tab for its tests in a browser: photos by code, and what a person does with them."""

import io
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from PIL import ExifTags, Image
from playwright.sync_api import FilePayload, Locator, Page, expect

from serve.progress.schemas import ProgressAnswer
from serve.schemas import Reason
from tests.ui.conftest import FakeApi, progress_answer

PORTRAIT, SQUARE = (600, 900), (480, 480)
COLOURS = ("tan", "peru", "sienna", "wheat", "linen")
APRIL, MARCH, MAY = datetime(2026, 4, 10, 9), datetime(2026, 3, 1, 9), datetime(2026, 5, 2, 9)
SPOILED = FilePayload(name="spoiled.jpg", mimeType="image/jpeg", buffer=b"\xff\xd8\xff\xe0 not a photo")


@pytest.fixture
def tab(page: Page, api: FakeApi) -> Iterator[Page]:
    """Open the tab; ``requests`` of the page holds the comparisons."""
    page.get_by_role("tab", name="Progress").click()
    expect(page.get_by_role("button", name="Compare", exact=True)).to_be_visible()
    yield page


@pytest.fixture
def sent(page: Page) -> list[str]:
    """Collect the addresses of comparisons that the browser sends."""
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url) if _is_series(request.url) else None)
    return addresses


def _is_series(url: str) -> bool:
    return url.endswith("/v1/progress")


def photo(number: int = 0, size_px: tuple[int, int] = SQUARE, *, has_exif: bool = True) -> FilePayload:
    """Return a photo; with EXIF only the API can tell whether it records a date."""
    data, exif = io.BytesIO(), Image.Exif()
    exif[ExifTags.Base.Orientation] = 1
    Image.new("RGB", size_px, COLOURS[number]).save(data, "JPEG", exif=exif if has_exif else b"")
    return FilePayload(name=f"{number}.jpg", mimeType="image/jpeg", buffer=data.getvalue())


def add(page: Page, photos: list[FilePayload]) -> None:
    before = page.locator(".series-tiles li").count()
    page.get_by_label("Photos of one face").set_input_files(photos)
    expect(page.locator(".series-tiles li")).to_have_count(before + len(photos))


def compare(page: Page) -> None:
    page.get_by_role("button", name="Compare", exact=True).click()


def answered(page: Page, verdict: str = "Improved") -> Locator:
    heading = page.locator("#progress-answer").get_by_role("heading", name=verdict)
    expect(heading).to_be_focused()
    expect(heading).to_be_in_viewport()
    return page.locator("#progress-answer")


def inconclusive() -> ProgressAnswer:
    """Return the answer for three photos with another person on the second one."""
    answer = progress_answer(3, improved=0.5)
    photos = [one.model_copy(update={"improved_probability_so_far": None}) for one in answer.photos]
    photos[1] = photos[1].model_copy(update={"same_person": False})
    reason = Reason(code="different_people", message="photo 2 seems to show another person")
    return answer.model_copy(update={"verdict": "inconclusive", "photos": photos, "reasons": [reason]})


def place(element: Locator) -> Any:
    box = element.bounding_box()
    assert box is not None
    return box
