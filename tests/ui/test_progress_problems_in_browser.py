"""Photos of a series that cannot be compared, in headless Chromium."""

import re

import pytest
from playwright.sync_api import Page, expect

from serve.schemas import MAX_SERIES_PHOTOS, Reason
from tests.ui.conftest import FakeApi, on_every_screen, progress_answer
from tests.ui.series_pages import APRIL, MARCH, MAY, SPOILED, add, answered, compare, photo
from tests.ui.series_pages import sent as sent
from tests.ui.series_pages import tab as tab

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings(
        "ignore:'future.no_silent_downcasting' is deprecated"
    ),  # by Gradio's statistics
]


@on_every_screen
def test_a_file_that_cannot_be_read_is_marked_and_left_out(tab: Page, api: FakeApi, sent: list[str]):
    api.recorded = [MARCH, APRIL]
    add(tab, [photo(0), SPOILED, photo(1)])
    expect(tab.locator(".series-tiles .faulty")).to_have_text(re.compile("This file cannot be read."))
    compare(tab)

    alert = tab.locator("#progress-status").get_by_role("alert")
    expect(alert).to_contain_text("1 file cannot be read: Photo 2.")
    expect(alert.get_by_role("heading")).to_be_focused()
    assert sent == []
    alert.get_by_role("button", name="Leave it out and compare").click()

    answered(tab)
    assert api.photos == [photo(0)["buffer"], photo(1)["buffer"]]


def test_a_photo_that_the_api_rejects_is_marked_and_left_out(tab: Page, api: FakeApi):
    api.recorded = [MARCH, APRIL]
    add(tab, [photo(number) for number in range(3)])
    api.fail(413, "too_many_pixels", "photo 3: it has 90 megapixels, at most 65 are allowed; reduce it")
    compare(tab)
    expect(tab.locator("#progress-status").get_by_role("alert")).to_contain_text(
        "Photo 3: it has 90 megapixels"
    )
    expect(tab.locator(".series-tiles li").nth(2)).to_have_class(re.compile("faulty"))

    api.error = None
    tab.get_by_role("button", name="Leave it out and compare").click()
    answered(tab)
    assert len(api.photos) == 2

    tab.get_by_role("button", name="Change photos").click()
    expect(tab.locator(".series-tiles li")).to_have_count(3)
    expect(tab.locator(".series-tiles .left-out")).to_contain_text("Left out")


@on_every_screen
def test_all_photos_that_the_api_rejects_are_left_out_by_one_press(tab: Page, api: FakeApi, sent: list[str]):
    photos = [photo(number) for number in range(5)]
    api.recorded, api.rejected = [MARCH, APRIL, MAY], [photos[number]["buffer"] for number in (1, 3)]
    add(tab, photos)
    compare(tab)

    alert = tab.locator("#progress-status").get_by_role("alert")
    expect(alert).to_contain_text("2 photos cannot be used: Photo 2, Photo 4.")
    faulty = tab.locator(".series-tiles .faulty")
    expect(faulty).to_have_text([re.compile("This file cannot be read.")] * 2)
    assert [tab.locator(".series-tiles li").nth(at).get_attribute("class") for at in (1, 3)] == ["faulty"] * 2
    alert.get_by_role("button", name="Leave them out and compare").click()

    answered(tab)
    assert len(sent) == 2
    assert api.photos == [photos[number]["buffer"] for number in (0, 2, 4)]


def test_one_rejected_photo_of_a_series_with_entered_dates_has_the_number_of_its_tile(
    tab: Page, api: FakeApi
):
    add(tab, [photo(number) for number in range(3)])
    compare(tab)
    for number, day in ((1, "2026-05-02"), (2, "2026-04-10"), (3, "2026-03-01")):
        tab.get_by_label(f"Date of photo {number}", exact=True).fill(day)
    api.rejected = [photo(0)["buffer"]]
    tab.get_by_role("button", name="Compare by these dates").click()

    alert = tab.locator("#progress-status").get_by_role("alert")
    expect(alert).to_contain_text("Photo 1: It is truncated; send it again.")
    tab.get_by_role("button", name="Back").click()
    expect(tab.locator(".series-tiles li").first).to_have_class("faulty")


@pytest.mark.parametrize(("count", "words"), [(0, "There is no photo yet"), (1, "There is one photo only")])
def test_too_few_photos_are_said_without_a_request(tab: Page, sent: list[str], count: int, words: str):
    if count:
        add(tab, [photo(number) for number in range(count)])
    compare(tab)

    expect(tab.locator("#progress-status").get_by_role("alert")).to_contain_text(words)
    assert sent == []


def test_too_many_photos_are_said_before_any_upload(tab: Page):
    add(tab, [photo(0)])
    tab.get_by_label("Photos of one face").set_input_files([photo(1)] * MAX_SERIES_PHOTOS)

    expect(tab.locator("#panel-progress .problem")).to_contain_text(f"{MAX_SERIES_PHOTOS + 1} photos")
    expect(tab.locator(".series-tiles li")).to_have_count(1)


def test_a_server_that_is_gone_is_tried_again_with_the_same_photos(tab: Page, api: FakeApi):
    api.recorded = [MARCH, APRIL]
    tab.route("**/v1/progress", lambda route: route.abort("connectionrefused"))
    add(tab, [photo(0), photo(1)])
    compare(tab)
    alert = tab.locator("#progress-status").get_by_role("alert")
    expect(alert).to_contain_text("No connection to the server")
    tab.unroute("**/v1/progress")
    alert.get_by_role("button", name="Try again").click()

    answered(tab)
    assert len(api.photos) == 2


def test_photos_of_another_person_are_left_out_by_one_press(tab: Page, api: FakeApi):
    answer = progress_answer(3, improved=0.5)
    other = answer.photos[1].model_copy(update={"same_person": False})
    reason = Reason(code="different_people", message="photo 2 seems to show another person")
    update = {
        "verdict": "inconclusive",
        "order": "exif",
        "photos": [answer.photos[0], other, answer.photos[2]],
        "reasons": [reason],
    }
    dated = [
        one.model_copy(update={"taken_at": time})
        for one, time in zip(update["photos"], (MARCH, APRIL, MAY), strict=True)
    ]
    api.progress = answer.model_copy(update=update | {"photos": dated})
    add(tab, [photo(number) for number in range(3)])
    compare(tab)
    answered(tab, "Inconclusive")

    api.progress, api.recorded = None, [MARCH, MAY]
    tab.get_by_role("button", name="Leave photo 2 out and compare").click()
    answered(tab)
    assert api.photos == [photo(0)["buffer"], photo(2)["buffer"]]
