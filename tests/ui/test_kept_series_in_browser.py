"""A kept series goes on: its photos come back from the history, and one more is compared with them."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.ui.conftest import FakeApi, on_every_screen
from tests.ui.series_pages import APRIL, MARCH, MAY, add, answered, compare, inconclusive, photo
from tests.ui.series_pages import tab as tab
from tests.ui.test_history_in_browser import history, keep, num_stored, open_history
from tests.ui.test_report_in_browser import pdf_text, print_report

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated"),  # by Gradio
]
RESUME = "Add a photo and compare again"


def kept_series(page: Page, api: FakeApi) -> None:
    api.recorded = [MARCH, APRIL]
    add(page, [photo(0), photo(1)])
    compare(page)
    answered(page)
    keep(page, "My face", "progress")


def add_from_history(page: Page, number: int) -> None:
    with page.expect_file_chooser() as chooser:
        history(page).get_by_role("button", name=RESUME).locator("visible=true").click()
    chooser.value.set_files([photo(number)])


@on_every_screen
def test_next_month_one_photo_is_added_to_a_kept_series(tab: Page, api: FakeApi):
    kept_series(tab, api)
    tab.reload()
    groups = open_history(tab)
    add_from_history(tab, 2)

    expect(tab.locator(".series-tiles li")).to_have_count(3)
    expect(tab.locator(".series-tiles img").last).to_be_visible()
    api.recorded = [MARCH, APRIL, MAY]
    compare(tab)
    expect(answered(tab).locator(".photos li")).to_have_count(3)
    assert api.photos == [photo(number)["buffer"] for number in range(3)] and api.taken_at == []

    tab.locator("#panel-progress [data-action=keep]").click()
    expect(tab.locator("dialog [name=label]")).to_have_value("My face")
    tab.locator("dialog .primary").click()
    expect(tab.locator("#panel-progress .keep a")).to_be_focused()
    tab.reload()
    open_history(tab)
    expect(groups.locator("h3 bdi")).to_have_text(["My face"])
    expect(groups.locator("[data-action=open]")).to_have_count(2)
    groups.locator("[data-action=open]").last.click()
    expect(history(tab).locator("[data-entry=progress] .photos li")).to_have_count(3)
    add_from_history(tab, 3)
    expect(tab.locator(".series-tiles li")).to_have_count(4)
    assert num_stored(tab) == 2, "adding a photo keeps nothing by itself"


def test_entered_dates_and_their_order_come_back(tab: Page, api: FakeApi):
    add(tab, [photo(0), photo(1)])
    compare(tab)
    for number, day in ((1, "2026-04-10"), (2, "2026-03-01")):
        tab.get_by_label(f"Date of photo {number}", exact=True).fill(day)
    tab.get_by_role("button", name="Compare by these dates").click()
    answered(tab)
    keep(tab, "My face", "progress")
    tab.reload()
    open_history(tab)
    add_from_history(tab, 2)
    expect(tab.locator(".series-tiles li")).to_have_count(3)
    compare(tab)

    dates = tab.locator(".arrange-list [type=date]")
    expect(dates).to_have_count(3)
    assert [field.input_value() for field in dates.all()] == ["2026-03-01", "2026-04-10", ""]
    tab.get_by_label("Date of photo 3", exact=True).fill("2026-05-02")
    tab.get_by_role("button", name="Compare by these dates").click()
    answered(tab)
    assert api.photos == [photo(number)["buffer"] for number in (1, 0, 2)]
    assert api.taken_at == ["2026-03-01T12:00:00", "2026-04-10T12:00:00", "2026-05-02T12:00:00"]


def test_an_order_without_dates_comes_back(tab: Page, api: FakeApi):
    add(tab, [photo(0), photo(1)])
    compare(tab)
    tab.get_by_role("button", name="Move photo 2 earlier").click()
    tab.get_by_role("button", name="Compare in this order").click()
    answered(tab)
    keep(tab, "My face", "progress")
    open_history(tab)
    add_from_history(tab, 2)
    expect(tab.locator(".series-tiles li")).to_have_count(3)
    compare(tab)
    tab.get_by_role("button", name="Compare in this order").click()

    answered(tab)
    assert api.photos == [photo(number)["buffer"] for number in (1, 0, 2)]


def test_photos_that_are_not_kept_are_not_replaced_without_a_question(tab: Page, api: FakeApi):
    kept_series(tab, api)
    tab.get_by_role("button", name="Change photos").click()
    tab.get_by_role("button", name="Remove all photos").click()
    add(tab, [photo(3)])
    open_history(tab)
    history(tab).get_by_role("button", name=RESUME).locator("visible=true").click()
    expect(tab.locator("dialog")).to_contain_text("are not kept")
    tab.locator("dialog [data-close]").click()
    expect(tab.locator(".series-tiles li")).to_have_count(1)

    open_history(tab)
    history(tab).get_by_role("button", name=RESUME).locator("visible=true").click()
    with tab.expect_file_chooser() as chooser:
        tab.locator("dialog .primary").click()
    chooser.value.set_files([photo(2)])
    expect(tab.locator(".series-tiles li")).to_have_count(3)


def test_a_lesion_has_no_series_to_go_on_with(tab: Page):
    tab.get_by_role("tab", name="Lesion").click()
    tab.locator("#panel-lesion .drop input").set_input_files([photo(0)])
    keep(tab, "Left arm")
    open_history(tab).locator("[data-action=open]").click()

    expect(history(tab).get_by_role("button", name="Back to the history")).to_be_visible()
    expect(history(tab).get_by_role("button", name=RESUME)).to_have_count(0)


@on_every_screen
def test_an_inconclusive_series_is_saved_and_kept_and_goes_on(tab: Page, api: FakeApi, tmp_path: Path):
    api.progress = inconclusive()
    add(tab, [photo(number, has_exif=False) for number in range(3)])
    tab.get_by_role("button", name="Compare in this order").click()
    answered(tab, "Inconclusive")
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Save as JSON").locator("visible=true").click()
    assert json.loads(download.value.path().read_text()) == json.loads(api.progress.model_dump_json())
    print_report(tab, "progress")
    words = pdf_text(tab)
    assert "Inconclusive" in words and "Photo 2 seems to show another person." in words and "%" not in words
    keep(tab, "My face", "progress")

    tab.reload()
    groups = open_history(tab)
    expect(groups.locator("[data-slot=verdict]")).to_have_text("Inconclusive")
    expect(groups.locator("[data-slot=probability]")).to_have_text("")
    add_from_history(tab, 3)
    api.progress = None
    tab.get_by_role("button", name="Remove photo 2").click()
    compare(tab)
    tab.get_by_role("button", name="Compare in this order").click()
    answered(tab)
    assert api.photos == [
        *[photo(number, has_exif=False)["buffer"] for number in (0, 2)],
        photo(3)["buffer"],
    ]
