"""The Progress tab in headless Chromium, with answers that a test sets."""

import io
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Dialog, FilePayload, Locator, Page, Route, expect

from serve.progress.schemas import Box, Eyes, FoundFace, Point
from serve.schemas import MAX_SERIES_PHOTOS, Reason
from tests.ui.conftest import FakeApi, on_every_screen, progress_answer

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings(
        "ignore:'future.no_silent_downcasting' is deprecated"
    ),  # by Gradio's statistics
]

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


def photo(number: int = 0, size_px: tuple[int, int] = SQUARE) -> FilePayload:
    data = io.BytesIO()
    Image.new("RGB", size_px, COLOURS[number]).save(data, "JPEG")
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


def place(element: Locator) -> Any:
    box = element.bounding_box()
    assert box is not None
    return box


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
    tab.get_by_role("button", name="Leave the marked photo out and compare").click()
    answered(tab)
    assert api.photos == [photo(0)["buffer"], photo(2)["buffer"]]


@on_every_screen
def test_faces_are_framed_in_photos_of_any_shape(tab: Page, api: FakeApi):
    answer = progress_answer(2)
    box = Box(left=150, top=300, right=450, bottom=700)
    face = FoundFace(box=box, confidence=1)
    photos = [one.model_copy(update={"face": face, "taken_at": MARCH}) for one in answer.photos]
    api.progress = answer.model_copy(update={"photos": photos, "order": "exif"})
    add(tab, [photo(0, PORTRAIT), photo(1, PORTRAIT)])
    compare(tab)

    tile = answered(tab).locator(".photos li").first
    shown, framed = place(tile.locator("img")), place(tile.locator(".face-box"))
    assert shown["width"] / shown["height"] == pytest.approx(PORTRAIT[0] / PORTRAIT[1], rel=0.02)
    scale = shown["width"] / PORTRAIT[0]
    assert framed["x"] - shown["x"] == pytest.approx(box.left * scale, abs=1.5)
    assert framed["y"] - shown["y"] == pytest.approx(box.top * scale, abs=1.5)


@on_every_screen
def test_before_and_after_aligns_the_faces_by_slider_and_side_by_side(tab: Page, api: FakeApi):
    answer = progress_answer(2)
    boxes = (Box(left=100, top=100, right=200, bottom=220), Box(left=250, top=300, right=550, bottom=660))
    photos = [
        one.model_copy(update={"face": FoundFace(box=box, confidence=1), "taken_at": time})
        for one, box, time in zip(answer.photos, boxes, (MARCH, APRIL), strict=True)
    ]
    api.progress = answer.model_copy(update={"photos": photos, "order": "exif"})
    add(tab, [photo(0, SQUARE), photo(1, PORTRAIT)])
    compare(tab)
    answered(tab)

    def face(side: str, box: Box, width_px: int) -> tuple[float, float, float]:
        """Return centre and height of a face in its frame."""
        frame = place(tab.locator(f".before-after-stage .{side}"))
        shown = place(tab.locator(f".before-after-stage .{side} img"))
        scale = shown["width"] / width_px
        return (
            shown["x"] - frame["x"] + (box.left + box.right) / 2 * scale,
            shown["y"] - frame["y"] + (box.top + box.bottom) / 2 * scale,
            (box.bottom - box.top) * scale,
        )

    def assert_aligned() -> None:
        before = face("before", boxes[0], SQUARE[0])
        assert before == pytest.approx(face("after", boxes[1], PORTRAIT[0]), abs=1.5)

    expect(tab.locator(".before-after-stage img").last).to_be_visible()
    assert_aligned()
    divider = tab.get_by_label("Position of the line between before and after")
    divider.focus()
    for _ in range(10):
        divider.press("ArrowRight")
    expect(tab.locator(".before-after-stage .after")).to_have_css("clip-path", "inset(0px 0px 0px 60%)")

    for side, other in (("before", "1"), ("after", "0")):
        expect(tab.locator(f"[data-side={side}] option:disabled")).to_have_attribute("value", other)

    tab.get_by_role("radio", name="Side by side").check()
    expect(divider).to_be_hidden()
    before, after = (place(tab.locator(f".before-after-stage .{side}")) for side in ("before", "after"))
    assert before["x"] + before["width"] <= after["x"]
    assert_aligned()


EYE = """
(image, [x, y]) => {
    const { width, left, top, transform, transformOrigin } = getComputedStyle(image);
    const scale = parseFloat(width) / image.naturalWidth;
    const [originX, originY] = transformOrigin.split(" ").map(parseFloat);
    const point = { x: x * scale - originX, y: y * scale - originY };
    const turned = new DOMMatrix(transform).transformPoint(point);
    return [parseFloat(left) + originX + turned.x, parseFloat(top) + originY + turned.y];
}
"""
"""Place of a point of the photo inside the frame."""


def test_before_and_after_puts_the_eyes_of_a_turned_face_in_the_same_places(tab: Page, api: FakeApi):
    answer = progress_answer(2)
    box = Box(left=100, top=100, right=300, bottom=340)
    eyes = (((150, 200), (250, 200)), ((160, 420), (400, 360)))
    photos = [
        one.model_copy(
            update={
                "face": FoundFace(
                    box=box, confidence=1, eyes=Eyes(left=Point(x=x1, y=y1), right=Point(x=x2, y=y2))
                ),
                "taken_at": MARCH,
            }
        )
        for one, ((x1, y1), (x2, y2)) in zip(answer.photos, eyes, strict=True)
    ]
    api.progress = answer.model_copy(update={"photos": photos, "order": "exif"})
    add(tab, [photo(0), photo(1, PORTRAIT)])
    compare(tab)
    answered(tab)

    before, after = (tab.locator(f".before-after-stage .{side} img") for side in ("before", "after"))
    expect(after).to_be_visible()
    for eye in (0, 1):
        assert before.evaluate(EYE, eyes[0][eye]) == pytest.approx(after.evaluate(EYE, eyes[1][eye]), abs=1)
    left, right = (before.evaluate(EYE, eyes[0][eye]) for eye in (0, 1))
    assert left[1] == pytest.approx(right[1], abs=1) and right[0] > left[0]


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
