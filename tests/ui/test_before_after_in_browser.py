"""Photos with their faces, before and after, in headless Chromium."""

import pytest
from playwright.sync_api import Page, expect

from serve.progress.schemas import Box, Eyes, FoundFace, Point
from tests.ui.conftest import FakeApi, on_every_screen, progress_answer
from tests.ui.series_pages import APRIL, MARCH, PORTRAIT, SQUARE, add, answered, compare, photo, place
from tests.ui.series_pages import tab as tab

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings(
        "ignore:'future.no_silent_downcasting' is deprecated"
    ),  # by Gradio's statistics
]


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
        """Return centre and height of a face on the page."""
        shown = place(tab.locator(f".before-after-stage .{side} img"))
        scale = shown["width"] / width_px
        return (
            shown["x"] + (box.left + box.right) / 2 * scale,
            shown["y"] + (box.top + box.bottom) / 2 * scale,
            (box.bottom - box.top) * scale,
        )

    def assert_aligned(*, apart: float) -> None:
        """Check that both frames, and the faces in them, differ by a step to the right only."""
        before, after = (place(tab.locator(f".before-after-stage .{side}")) for side in ("before", "after"))
        assert after == pytest.approx(before | {"x": before["x"] + apart}, abs=0.5)
        x, y, height = face("before", boxes[0], SQUARE[0])
        assert face("after", boxes[1], PORTRAIT[0]) == pytest.approx((x + apart, y, height), abs=1.5)

    expect(tab.locator(".before-after-stage img").last).to_be_visible()
    assert_aligned(apart=0)
    divider = tab.get_by_label("Position of the line between before and after")
    divider.focus()
    for _ in range(10):
        divider.press("ArrowRight")
    expect(tab.locator(".before-after-stage .after")).to_have_css("clip-path", "inset(0px 0px 0px 60%)")

    for side, other in (("before", "1"), ("after", "0")):
        expect(tab.locator(f"[data-side={side}] option:disabled")).to_have_attribute("value", other)

    tab.get_by_role("radio", name="Side by side").check()
    expect(divider).to_be_hidden()
    width, gap = place(tab.locator(".before-after-stage .before"))["width"], 12
    assert_aligned(apart=width + gap)


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
