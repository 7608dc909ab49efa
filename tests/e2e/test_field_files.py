"""Files of kinds that bug reports name, through the page and the real server: ``--field DIR``.

A screenshot of each is written to the temporary folder of the test.
"""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, expect

from samples.series import draw_series
from tests.ui.screens import DESK, PHONE, assert_readable, opened

pytestmark = [pytest.mark.server, pytest.mark.browser]

TIMEOUT_MS = 90_000  # a busy machine with two cores
MAX_DIFFERENCE = 0.005  # between probabilities: one picture in several colour spaces
NOT_USABLE = re.compile("phone_|one_pixel|all_black")
NO_PHOTO = re.compile(r"\.(txt|gz|bin)$")
DATES = re.compile(r"exif_(\w+)_day\d")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each file, of each kind of date and of each group of equal pictures."""
    folder: Path | None = metafunc.config.getoption("--field")
    files = sorted(path for path in folder.iterdir() if path.is_file()) if folder else []
    if "file" in metafunc.fixturenames:
        metafunc.parametrize("file", files, ids=[file.name for file in files])
    if "dated" in metafunc.fixturenames:
        kinds = sorted({found[1] for file in files if (found := DATES.match(file.name))})
        dated = [[file for file in files if file.name.startswith(f"exif_{kind}_")] for kind in kinds]
        metafunc.parametrize("dated", dated, ids=kinds)
    if "same_pictures" in metafunc.fixturenames:
        pictures = [file for file in files if file.name.startswith("icc_")]
        metafunc.parametrize("same_pictures", [pictures] if pictures else [], ids=["icc"][: len(pictures)])


@pytest.fixture(params=[DESK, PHONE], ids=["desk", "phone"])
def page(request: pytest.FixtureRequest, chromium: Browser, server_url: str) -> Iterator[Page]:
    with opened(chromium, f"{server_url}/", request.param, TIMEOUT_MS) as page:
        yield page


def test_a_file_has_an_answer_or_a_message_that_says_what_to_do(page: Page, file: Path, tmp_path: Path):
    panel = page.locator("#panel-lesion")
    panel.locator(".drop input").set_input_files(file)

    outcome = panel.locator(".answer h3:visible, .card.error h3:visible, .problem:visible").first
    expect(outcome).to_be_visible()
    picture_or_input = panel.locator(".stage:visible, .photo-missing:visible, .photo-input:visible")
    expect(picture_or_input.first).to_be_visible()
    screenshot(page, tmp_path, file.name)
    expect(panel.get_by_text("Something went wrong")).to_have_count(0)
    assert_readable(page)
    answer = panel.locator(".answer")
    if NO_PHOTO.search(file.name):
        expect(answer).to_have_count(0)
        expect(outcome).to_have_text(re.compile("is not a photo|type is not supported|could not be read"))
    elif NOT_USABLE.match(file.name):
        expect(answer).to_have_attribute("data-reason", re.compile("too_small|too_dark|no_lesion|not_skin"))
    else:
        expect(answer).to_have_attribute("data-verdict", re.compile("benign|malignant|inconclusive"))


def test_one_picture_in_several_colour_spaces_has_one_probability(page: Page, same_pictures: list[Path]):
    probabilities = []
    for file in same_pictures:
        with page.expect_response("**/v1/lesion*") as response:
            page.locator("#panel-lesion .drop input").set_input_files(file)
        probabilities.append(response.value.json()["malignant_probability"])
        expect(page.locator("#panel-lesion .answer .probability")).to_be_visible()
        page.get_by_role("button", name="Check another photo").first.click()

    assert max(probabilities) - min(probabilities) <= MAX_DIFFERENCE, probabilities


def test_recorded_dates_of_a_series_are_understood(page: Page, dated: list[Path], tmp_path: Path):
    faces = draw_series(improving=True, num_photos=len(dated), seed=5)
    photos = [with_exif_of(file, face) for file, face in zip(dated, faces, strict=True)]
    panel = page.locator("#panel-progress")
    page.get_by_role("tab", name="Progress").click()
    panel.get_by_label("Photos of one face").set_input_files(photos[::-1])
    expect(panel.locator(".series-tiles li")).to_have_count(len(photos))
    page.locator("#progress-compare").click()

    answer = panel.locator("#progress-answer")
    expect(answer.get_by_role("heading", name="Your photos, oldest first")).to_be_visible()
    expect(answer).to_contain_text("They are sorted by the dates that the photos record.")
    days = [f"Mar {day}, 2024" for day in range(1, len(photos) + 1)]
    expect(answer.locator(".photos li p:first-of-type span")).to_have_text(days)
    screenshot(page, tmp_path, dated[0].stem)
    assert_readable(page)


def with_exif_of(file: Path, picture: Image.Image) -> FilePayload:
    """Return a drawing with the metadata of a file, whose picture shows no face."""
    content = io.BytesIO()
    with Image.open(file) as photo:
        exif: Any = photo.info["exif"]
    picture.save(content, "JPEG", quality=92, exif=exif)
    return FilePayload(name=file.name, mimeType="image/jpeg", buffer=content.getvalue())


def screenshot(page: Page, folder: Path, name: str) -> None:
    """Write what a person sees, with the width of the screen in its name."""
    page.screenshot(path=folder / f"{name}_{page.evaluate('innerWidth')}.png", full_page=True)
