"""Both tasks from start to saved report by keyboard alone; the focus is always visible."""

import pytest
from playwright.sync_api import FilePayload, Locator, Page, expect

from tests.ui.conftest import FakeApi, lesion_answer, on_every_screen
from tests.ui.series_pages import answered, photo
from tests.ui.test_lesion_in_browser import file_of, jpeg

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings(
        "ignore:'future.no_silent_downcasting' is deprecated"
    ),  # by Gradio's statistics
]

MAX_PRESSES = 40
FOCUS = """
() => {
    const focused = document.activeElement;
    const shown = [focused, focused.closest('label'), focused.nextElementSibling].filter(Boolean);
    const outlined = shown.find((one) => {
        const { outlineStyle, outlineWidth } = getComputedStyle(one);
        return outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2;
    });
    const { top, bottom } = (outlined ?? focused).getBoundingClientRect();
    const isInView = bottom > 0 && top < innerHeight;
    const isBrowser = focused === document.body;
    return { isBrowser, isOutlined: Boolean(outlined), isInView, html: focused.outerHTML.slice(0, 120) };
}
"""


def go_to(page: Page, target: Locator, key: str = "Tab") -> None:
    """Press Tab until the target has the focus; assert that the focus is seen at every stop.

    After the last stop the browser itself has the focus.
    """
    for _ in range(MAX_PRESSES):
        page.keyboard.press(key)
        focus = page.evaluate(FOCUS)
        assert focus["isBrowser"] or (focus["isOutlined"] and focus["isInView"]), focus
        if target.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"{MAX_PRESSES} times {key} do not reach {target}")


def choose_files(page: Page, target: Locator, files: list[FilePayload]) -> None:
    """Go to a file input and open its chooser by the space bar."""
    with page.expect_file_chooser() as chooser:
        go_to(page, target)
        page.keyboard.press("Space")
    chooser.value.set_files(files)


def save_report(page: Page, panel: Locator) -> None:
    """Open the print dialog of the browser from the button below an answer."""
    page.evaluate("window.print = () => document.body.setAttribute('data-printed', '')")
    go_to(page, panel.get_by_role("button", name="Print or save as PDF"))
    page.keyboard.press("Enter")
    expect(page.locator("body")).to_have_attribute("data-printed", "")


@on_every_screen
def test_a_lesion_is_classified_by_keyboard_and_the_next_photo_added(page: Page, api: FakeApi):
    panel = page.locator("#panel-lesion")
    chooser = panel.get_by_label("Photo of the lesion")
    go_to(page, page.get_by_role("tab", name="Lesion"))
    choose_files(page, chooser, [file_of(jpeg())])
    expect(panel.get_by_role("heading", name="Looks benign")).to_be_focused()

    go_to(page, panel.locator(".answer summary").first)
    page.keyboard.press("Enter")
    expect(panel.locator(".answer details").first).to_have_attribute("open", "")
    save_report(page, panel)
    go_to(page, panel.get_by_role("checkbox", name="Where the network looked"))
    page.keyboard.press("Space")
    go_to(page, panel.get_by_label("Strength of the blue"))
    page.keyboard.press("End")
    expect(panel.locator(".grad-cam")).to_have_css("opacity", "1")

    api.lesion = lesion_answer(malignant=0.8)
    go_to(page, page.get_by_role("button", name="Check another photo").first, "Shift+Tab")
    page.keyboard.press("Enter")
    expect(chooser).to_be_focused()
    page.keyboard.press("Shift+Tab")
    choose_files(page, chooser, [file_of(jpeg())])
    expect(panel.get_by_role("heading", name="Have it checked")).to_be_focused()


@on_every_screen
def test_a_series_is_dated_ordered_and_compared_by_keyboard(page: Page, api: FakeApi):
    go_to(page, page.get_by_role("tab", name="Lesion"))
    page.keyboard.press("ArrowRight")
    panel = page.locator("#panel-progress")
    choose_files(page, panel.get_by_label("Photos of one face"), [photo(number) for number in range(3)])
    expect(panel.locator(".series-tiles li")).to_have_count(3)
    go_to(page, panel.get_by_role("button", name="Remove photo 3"), "Shift+Tab")
    page.keyboard.press("Enter")
    expect(panel.locator(".series-tiles li")).to_have_count(2)
    go_to(page, panel.get_by_role("button", name="Compare", exact=True))
    page.keyboard.press("Enter")
    expect(panel.get_by_role("heading", name="When were these photos taken?")).to_be_focused()

    for number, day in ((1, "04102026"), (2, "03012026")):
        go_to(page, panel.get_by_label(f"Date of photo {number}", exact=True))
        page.keyboard.type(day)
    expect(panel.get_by_text("By their dates, this order is wrong.")).to_be_visible()
    go_to(page, panel.get_by_role("button", name="Compare by these dates"))
    page.keyboard.press("Enter")

    answer = answered(page)
    assert api.taken_at == ["2026-03-01T12:00:00", "2026-04-10T12:00:00"]
    save_report(page, panel)
    go_to(page, answer.get_by_label("Position of the line between before and after"))
    page.keyboard.press("ArrowRight")
    expect(answer.locator(".before-after-stage .after")).to_have_css("clip-path", "inset(0px 0px 0px 51%)")
    go_to(page, answer.get_by_role("radio", name="Slider"), "Shift+Tab")
    page.keyboard.press("ArrowRight")
    expect(answer.locator(".before-after-range")).to_be_hidden()
    go_to(page, panel.get_by_role("button", name="Change photos"), "Shift+Tab")
    page.keyboard.press("Enter")
    expect(panel.locator(".series-tiles li")).to_have_count(2)
