"""The page on a phone with a touch screen: three taps from opening it to a verdict, and flows by finger."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, FilePayload, Locator, Page, expect

from tests.ui.conftest import PHONE, TIMEOUT_MS, FakeApi
from tests.ui.series_pages import APRIL, MARCH, MAY, answered, inconclusive, photo
from tests.ui.test_lesion_in_browser import file_of, jpeg, verdict

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated"),  # by Gradio
]


class Finger:
    """Taps on the page, and counts the taps."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.num_taps = 0

    def tap(self, target: Locator) -> None:
        target.tap()
        self.num_taps += 1

    def tap_button(self, name: str) -> None:
        self.tap(self.page.get_by_role("button", name=name, exact=True))

    def open_progress(self) -> None:
        self.tap(self.page.get_by_role("tab", name="Progress"))

    def choose(self, panel: str, photos: list[FilePayload]) -> None:
        """Tap on the photo input; what the picker of the phone needs is not counted."""
        with self.page.expect_file_chooser() as chooser:
            self.tap(self.page.locator(f"#panel-{panel} .drop"))
        chooser.value.set_files(photos)


@pytest.fixture
def finger(chromium: Browser, page_url: str, api: FakeApi) -> Iterator[Finger]:
    api.reset()
    context = chromium.new_context(
        viewport=PHONE, has_touch=True, is_mobile=True, device_scale_factor=2, service_workers="block"
    )
    context.set_default_timeout(TIMEOUT_MS)
    expect.set_options(timeout=TIMEOUT_MS)
    page = context.new_page()
    page.goto(page_url)
    expect(page.locator("#panel-lesion .photo-input")).to_be_visible()
    yield Finger(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], "it scrolls sideways"
    context.close()


def test_a_lesion_takes_one_tap(finger: Finger):
    finger.choose("lesion", [file_of(jpeg())])

    expect(verdict(finger.page)).to_be_in_viewport()
    assert finger.num_taps == 1


def test_a_series_with_dates_takes_three_taps(finger: Finger, api: FakeApi):
    api.recorded = [MARCH, APRIL]
    finger.open_progress()
    finger.choose("progress", [photo(0), photo(1)])
    finger.tap_button("Compare")

    answered(finger.page)
    assert finger.num_taps == 3


def test_a_series_without_dates_takes_three_taps_and_its_order_is_confirmed(finger: Finger, api: FakeApi):
    finger.open_progress()
    photos = [photo(number, has_exif=False) for number in range(3)]
    finger.choose("progress", photos)
    expect(finger.page.locator("[data-slot=undated]")).to_contain_text(
        "A wrong order can turn improved into worsened."
    )
    expect(finger.page.locator("#progress-compare")).to_be_hidden()
    finger.tap_button("Compare in this order")

    answer = answered(finger.page)
    expect(answer.get_by_role("heading", name="Your photos, in your order")).to_be_visible()
    assert finger.num_taps == 3
    assert api.photos == [one["buffer"] for one in photos] and api.taken_at == []


def test_photos_of_two_people_are_separated_by_finger(finger: Finger, api: FakeApi):
    api.progress = inconclusive()
    finger.open_progress()
    finger.choose("progress", [photo(number, has_exif=False) for number in range(3)])
    finger.tap_button("Compare in this order")
    answered(finger.page, "Inconclusive")

    api.progress = None
    finger.tap_button("Leave photo 2 out and compare")
    answered(finger.page)
    assert api.photos == [photo(number, has_exif=False)["buffer"] for number in (0, 2)]


def test_a_date_is_corrected_and_a_photo_left_out_by_finger(finger: Finger, api: FakeApi):
    api.recorded = [MARCH, APRIL, MAY]
    finger.open_progress()
    finger.choose("progress", [photo(number) for number in range(3)])
    finger.tap_button("Compare")
    answered(finger.page)

    finger.tap_button("Dates and order")
    finger.page.get_by_label("Date of photo 1", exact=True).fill("2026-06-01")
    finger.tap(finger.page.get_by_role("checkbox", name="Leave out photo 2"))
    finger.tap_button("Compare by these dates")

    answered(finger.page)
    assert api.photos == [photo(number)["buffer"] for number in (2, 0)]
    assert api.taken_at == ["2026-05-02T09:00:00", "2026-06-01T12:00:00"]


def test_a_comparison_is_cancelled_by_finger(finger: Finger, api: FakeApi):
    finger.page.route("**/v1/progress", lambda route: None)
    finger.open_progress()
    finger.choose("progress", [photo(0), photo(1)])
    finger.tap_button("Compare")
    finger.tap_button("Cancel")

    expect(finger.page.locator("#progress-status")).to_be_hidden()
    expect(finger.page.locator(".series-tiles li")).to_have_count(2)
    finger.page.unroute("**/v1/progress")
    api.recorded = [MARCH, APRIL]
    finger.tap_button("Compare")
    answered(finger.page)
