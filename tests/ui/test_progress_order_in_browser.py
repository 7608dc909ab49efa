"""Dates and order of a series in headless Chromium."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.ui.conftest import FakeApi, on_every_screen
from tests.ui.series_pages import APRIL, MARCH, MAY, add, answered, compare, photo, place
from tests.ui.series_pages import sent as sent
from tests.ui.series_pages import tab as tab

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings(
        "ignore:'future.no_silent_downcasting' is deprecated"
    ),  # by Gradio's statistics
]


@on_every_screen
def test_without_dates_the_order_is_confirmed_and_not_called_oldest_first(
    tab: Page, api: FakeApi, sent: list[str]
):
    add(tab, [photo(number) for number in range(3)])
    compare(tab)

    question = tab.get_by_role("heading", name="When were these photos taken?")
    expect(question).to_be_focused()
    expect(question).to_be_in_viewport()
    expect(tab.locator(".arrange")).to_contain_text("3 of 3 photos have no date")
    tab.get_by_role("button", name="Compare in this order").click()

    answer = answered(tab)
    expect(answer.get_by_role("heading", name="Your photos, in your order")).to_be_visible()
    expect(answer.locator("svg.plot:visible")).to_contain_text("photo, in your order")
    assert len(sent) == 1, "the answer to the same order was there already"
    assert api.taken_at == []


@on_every_screen
def test_entered_dates_sort_the_photos_and_stand_on_the_axis(tab: Page, api: FakeApi):
    add(tab, [photo(number) for number in range(3)])
    compare(tab)
    for number, day in ((1, "2026-04-10"), (2, "2026-03-01"), (3, "2026-05-02")):
        tab.get_by_label(f"Date of photo {number}", exact=True).fill(day)
    expect(tab.get_by_text("By their dates, this order is wrong.")).to_be_visible()
    tab.get_by_role("button", name="Compare by these dates").click()

    answer = answered(tab)
    expect(answer.get_by_role("heading", name="Your photos, oldest first")).to_be_visible()
    expect(answer.locator(".photos li p:first-of-type")).to_have_text(
        [re.compile(r"Photo 1\s+Mar 1,"), re.compile(r"Photo 2\s+Apr 10,"), re.compile(r"Photo 3\s+May 2,")]
    )
    expect(answer.locator("svg.plot:visible")).to_contain_text("date of the photo, 2026")
    assert api.taken_at == ["2026-03-01T12:00:00", "2026-04-10T12:00:00", "2026-05-02T12:00:00"]
    assert [api.photos.index(photo(number)["buffer"]) for number in (1, 0, 2)] == [0, 1, 2]


def test_a_missing_date_cannot_be_skipped_by_compare_by_these_dates(tab: Page, sent: list[str]):
    add(tab, [photo(0), photo(1)])
    compare(tab)
    tab.get_by_label("Date of photo 1", exact=True).fill("2026-03-01")
    expect(tab.locator(".arrange")).to_contain_text("1 of 2 photos has no date")
    tab.get_by_role("button", name="Compare by these dates").click()

    expect(tab.get_by_label("Date of photo 2", exact=True)).to_be_focused()
    assert len(sent) == 1


def test_recorded_dates_can_be_corrected_afterwards(tab: Page, api: FakeApi):
    api.recorded = [APRIL, MARCH, MAY]
    add(tab, [photo(number) for number in range(3)])
    compare(tab)
    answered(tab)
    assert api.taken_at == []

    tab.get_by_role("button", name="Dates and order").click()
    expect(tab.get_by_label(re.compile("^Date of photo"))).to_have_count(3)
    assert [field.input_value() for field in tab.get_by_label(re.compile("^Date of photo")).all()] == [
        "2026-03-01",
        "2026-04-10",
        "2026-05-02",
    ]
    tab.get_by_label("Date of photo 3", exact=True).fill("2026-02-02")
    tab.get_by_role("button", name="Compare by these dates").click()

    answer = answered(tab)
    assert api.taken_at == ["2026-02-02T12:00:00", "2026-03-01T09:00:00", "2026-04-10T09:00:00"]
    expect(answer).to_contain_text("sorted by the recorded and the entered dates")


def test_the_order_changes_by_keyboard_and_a_wrong_one_is_said(tab: Page, api: FakeApi):
    api.recorded = [MARCH, APRIL]
    add(tab, [photo(0), photo(1)])
    compare(tab)
    answered(tab)
    tab.get_by_role("button", name="Dates and order").click()
    expect(tab.get_by_role("button", name="Compare in this order")).to_be_hidden()
    tab.get_by_role("button", name="Move photo 2 earlier").press("Enter")

    expect(tab.get_by_role("button", name="Move photo 1 earlier")).to_be_focused()
    expect(tab.locator("#announcements")).to_have_text("The photo is now number 1 of 2.")
    expect(tab.get_by_text("By their dates, this order is wrong.")).to_be_visible()
    tab.get_by_role("button", name="Compare in this order").click()

    answer = answered(tab)
    assert api.photos == [photo(1)["buffer"], photo(0)["buffer"]]
    assert api.taken_at == sorted(api.taken_at) and len(api.taken_at) == 2
    expect(answer.get_by_role("heading", name="Your photos, in your order")).to_be_visible()
    expect(answer.locator(".photos li p:first-of-type")).to_have_text(
        [re.compile("Apr 10, 2026"), re.compile("Mar 1, 2026")]
    )


class Pointer:
    """A mouse, or on a phone a finger."""

    def __init__(self, page: Page) -> None:
        self._mouse = page.mouse
        self._session = page.context.new_cdp_session(page)
        self._is_finger = page.evaluate("innerWidth < 500")
        if self._is_finger:
            self._session.send("Emulation.setTouchEmulationEnabled", {"enabled": True})

    def down(self, x: float, y: float) -> None:
        if self._is_finger:
            return self._touch("touchStart", [{"x": x, "y": y}])
        self._mouse.move(x, y)
        self._mouse.down()

    def move(self, x: float, y: float) -> None:
        if self._is_finger:
            return self._touch("touchMove", [{"x": x, "y": y}])
        self._mouse.move(x, y, steps=3)

    def up(self) -> None:
        if self._is_finger:
            return self._touch("touchEnd", [])
        self._mouse.up()

    def _touch(self, kind: str, points: list[dict[str, float]]) -> None:
        self._session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


@on_every_screen
def test_a_photo_is_dragged_to_its_place(tab: Page, api: FakeApi):
    add(tab, [photo(number) for number in range(3)])
    compare(tab)
    expect(tab.get_by_role("heading", name="When were these photos taken?")).to_be_focused()
    rows, pointer = tab.locator(".arrange-list li"), Pointer(tab)
    ids = rows.evaluate_all("rows => rows.map(row => row.dataset.id)")
    handle, last = (place(rows.nth(index).locator(".drag-handle")) for index in (0, 2))
    x, y = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
    below = last["y"] + last["height"]

    pointer.down(x, y)
    pointer.move(x, y + 40)
    tab.keyboard.press("Escape")
    pointer.move(x, below)
    pointer.up()
    assert rows.evaluate_all("rows => rows.map(row => row.dataset.id)") == ids, "Escape cancels"

    pointer.down(x, y)
    pointer.move(x, y + 40)
    pointer.move(x, below)
    expect(rows.nth(0)).to_have_class("dragged")
    pointer.up()
    expect(tab.locator("#announcements")).to_have_text("The photo is now number 3 of 3.")
    assert rows.evaluate_all("rows => rows.map(row => row.dataset.id)") == [*ids[1:], ids[0]]
    tab.get_by_role("button", name="Compare in this order").click()
    answered(tab)
    assert api.photos == [photo(number)["buffer"] for number in (1, 2, 0)]


def test_an_entered_date_outlives_a_new_photo(tab: Page, api: FakeApi):
    api.recorded = [MARCH, None]
    add(tab, [photo(0), photo(1)])
    compare(tab)
    tab.get_by_label("Date of photo 2", exact=True).fill("2026-04-01")
    tab.get_by_role("button", name="Compare by these dates").click()
    answered(tab)
    tab.get_by_role("button", name="Change photos").click()
    add(tab, [photo(2)])
    api.recorded = [MARCH, None, MAY]
    compare(tab)

    expect(answered(tab).locator(".photos li")).to_have_count(3)
    assert api.taken_at == ["2026-03-01T09:00:00", "2026-04-01T12:00:00", "2026-05-02T09:00:00"]
