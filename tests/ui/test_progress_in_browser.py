"""The Progress tab in headless Chromium, with answers that a test sets."""

import pytest
from playwright.sync_api import Dialog, Page, Route, expect

from tests.ui.conftest import FakeApi, on_every_screen
from tests.ui.series_pages import APRIL, MARCH, MAY, add, answered, compare, photo
from tests.ui.series_pages import sent as sent
from tests.ui.series_pages import tab as tab

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings(
        "ignore:'future.no_silent_downcasting' is deprecated"
    ),  # by Gradio's statistics
]


@on_every_screen
def test_the_photo_of_this_month_is_added_to_the_series(tab: Page, api: FakeApi):
    api.recorded = [MARCH, APRIL]
    add(tab, [photo(0), photo(1)])
    compare(tab)
    answered(tab)

    with tab.expect_file_chooser() as chooser:
        tab.get_by_role("button", name="Add a photo").click()
    chooser.value.set_files([photo(2)])
    expect(tab.locator(".series-tiles li")).to_have_count(3)
    api.recorded = [MARCH, APRIL, MAY]
    compare(tab)

    expect(answered(tab).locator(".photos li")).to_have_count(3)
    assert len(api.photos) == 3


def test_photos_dropped_on_an_answer_join_the_series(tab: Page, api: FakeApi):
    api.recorded = [MARCH, APRIL]
    add(tab, [photo(0), photo(1)])
    compare(tab)
    answered(tab)
    drop = """(element, bytes) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], 'new.jpg', {type: 'image/jpeg'}));
        element.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true}));
    }"""
    tab.locator("#progress-answer").evaluate(drop, list(photo(2)["buffer"]))

    expect(tab.locator(".series-tiles li")).to_have_count(3)
    expect(tab.locator("#announcements")).to_have_text("There are 3 photos now.")


@on_every_screen
def test_compare_shows_that_it_works_and_cannot_be_pressed_twice(tab: Page, api: FakeApi, sent: list[str]):
    api.recorded = [MARCH, APRIL]
    held: list[Route] = []
    tab.route("**/v1/progress", lambda route: held.append(route))
    add(tab, [photo(0), photo(1)])
    compare(tab)

    button = tab.locator("#progress-compare")
    expect(button).to_have_text("Comparing …")
    expect(tab.get_by_role("heading", name="Comparing the photos")).to_be_in_viewport()
    button.click(force=True)
    button.dispatch_event("click")
    held[0].continue_()

    answered(tab)
    assert len(sent) == 1
    expect(button).to_have_text("Compare")


def test_a_cancelled_comparison_keeps_the_photos(tab: Page):
    tab.route("**/v1/progress", lambda route: None)
    add(tab, [photo(0), photo(1)])
    compare(tab)
    tab.get_by_role("button", name="Cancel").click()

    expect(tab.locator("#progress-status")).to_be_hidden()
    expect(tab.locator(".series-tiles li")).to_have_count(2)
    expect(tab.locator("#progress-compare")).to_be_focused()
    expect(tab.locator("#progress-compare")).to_have_text("Compare")


def test_photos_are_left_out_and_used_again(tab: Page, api: FakeApi):
    api.recorded = [MARCH, APRIL, MAY]
    add(tab, [photo(number) for number in range(3)])
    compare(tab)
    answered(tab)
    tab.get_by_role("button", name="Dates and order").click()
    tab.get_by_role("checkbox", name="Leave out photo 2").check()
    expect(tab.get_by_role("checkbox", name="Leave out photo 1.jpg")).to_be_focused()
    expect(tab.locator(".arrange-list li b")).to_have_text(["Photo 1", "Photo 2", "1.jpg"])
    tab.get_by_role("button", name="Compare by these dates").click()
    answered(tab)
    assert api.photos == [photo(0)["buffer"], photo(2)["buffer"]]

    tab.get_by_role("button", name="Change photos").click()
    tab.get_by_role("button", name="Use again: photo").click()
    compare(tab)
    answered(tab)
    assert len(api.photos) == 3


def test_an_example_is_compared_and_gives_way_to_own_photos(tab: Page, api: FakeApi):
    api.recorded = [MARCH, APRIL]
    tab.locator("#progress-examples button").first.click()
    answered(tab)
    tab.get_by_role("button", name="Change photos").click()
    expect(tab.locator("#progress-examples")).to_be_hidden()
    tab.get_by_label("Photos of one face").set_input_files([photo(0)])

    expect(tab.locator(".series-tiles li")).to_have_count(1)
    tab.get_by_role("button", name="Remove photo 1").click()
    expect(tab.locator(".series-tiles li")).to_have_count(0)
    expect(tab.locator("#progress-examples")).to_be_visible()
    expect(tab.get_by_label("Photos of one face")).to_be_focused()


def test_leaving_the_page_with_photos_is_asked_about(tab: Page):
    asked: list[str] = []

    def accept(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.accept()

    tab.on("dialog", accept)
    tab.reload()
    assert asked == []
    tab.get_by_role("tab", name="Progress").click()
    add(tab, [photo(0)])
    tab.reload()

    assert asked == ["beforeunload"]


@on_every_screen
def test_buttons_are_large_enough_for_a_finger(tab: Page, api: FakeApi):
    api.recorded = [MARCH, APRIL]
    add(tab, [photo(0), photo(1)])
    small = "buttons => buttons.filter(b => b.offsetParent && b.offsetHeight < 44).map(b => b.outerHTML)"
    buttons = "#panel-progress button, #panel-progress select, #panel-progress input[type=date]"
    assert tab.locator(buttons).evaluate_all(small) == []
    compare(tab)
    answered(tab)
    assert tab.locator(buttons).evaluate_all(small) == []
    tab.get_by_role("button", name="Dates and order").click()
    assert tab.locator(buttons).evaluate_all(small) == []
