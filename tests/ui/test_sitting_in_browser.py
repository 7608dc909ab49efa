"""Several lesions in one visit: earlier answers, the frame of the person, advice for the next photo."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.ui.conftest import FakeApi, lesion_answer, not_usable_answer, on_every_screen
from tests.ui.test_lesion_in_browser import BOX, CROP, add, jpeg, place, start_over, tab, verdict

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated"),  # by Gradio
]

SIZE = (1600, 900)


def earlier(page: Page) -> Locator:
    return tab(page).locator(".earlier li")


def can_load(page: Page, url: str | None) -> bool:
    script = """url => {
        const image = new Image();
        image.src = url;
        return image.decode().then(() => true, () => false);
    }"""
    return page.evaluate(script, url)


@on_every_screen
def test_earlier_answers_are_listed_newest_first_and_open_again(page: Page, api: FakeApi):
    add(page, name="<script>.jpg")
    expect(verdict(page)).to_have_text("Looks benign")
    expect(tab(page).locator(".earlier")).to_be_hidden()
    api.lesion = lesion_answer(malignant=0.8)
    start_over(page)
    add(page, name="b.jpg")
    expect(verdict(page)).to_have_text("Have it checked")
    start_over(page)

    expect(earlier(page).locator("b")).to_have_text(["Have it checked", "Looks benign"])
    expect(earlier(page).locator("bdi")).to_have_text(["b.jpg", "<script>.jpg"])
    earlier(page).nth(1).get_by_role("button").click()
    expect(verdict(page)).to_have_text("Looks benign")
    expect(verdict(page)).to_be_focused()
    photo = tab(page).locator(".stage img[data-photo]")
    assert photo.evaluate("image => image.naturalWidth") == 320
    expect(earlier(page)).to_have_count(1)

    earlier(page).get_by_role("button").click()
    expect(verdict(page)).to_have_text("Have it checked")
    page.get_by_role("button", name="Clear").click()
    expect(tab(page).locator(".earlier")).to_be_hidden()
    expect(verdict(page)).to_have_text("Have it checked")
    assert can_load(page, photo.get_attribute("src"))


def test_clear_frees_the_photos(page: Page, api: FakeApi):
    add(page)
    expect(verdict(page)).to_be_visible()
    url = tab(page).locator(".stage img[data-photo]").get_attribute("src")
    start_over(page)

    page.get_by_role("button", name="Clear").click()

    expect(tab(page).locator(".drop input")).to_be_focused()
    assert not can_load(page, url)


def test_an_answer_survives_when_the_next_photo_is_rejected(page: Page, api: FakeApi):
    add(page)
    expect(verdict(page)).to_be_visible()
    start_over(page)
    api.fail(400, "unreadable_image", "the photo is empty; send the file itself")
    add(page)

    expect(tab(page).get_by_role("alert").filter(has_text="could not be read")).to_be_visible()
    expect(earlier(page)).to_have_count(1)


def frame_lesion(page: Page, api: FakeApi, box: tuple[int, int, int, int] | None = BOX) -> Locator:
    api.lesion = lesion_answer().model_copy(update={"lesion_box": box, "crop_box": CROP})
    add(page, jpeg(SIZE))
    expect(verdict(page)).to_be_visible()
    page.get_by_role("button", name="Frame the lesion yourself").click()
    dialog = page.get_by_role("dialog", name="Frame the lesion")
    expect(dialog).to_be_visible()
    return dialog


def sent_box(page: Page, api: FakeApi) -> list[int]:
    count = earlier(page).count()
    page.get_by_role("button", name="Classify this area").click()
    expect(earlier(page)).to_have_count(count + 1)
    expect(tab(page).get_by_text("The frame marks the area that you chose.")).to_be_visible()
    return [int(edge) for edge in api.query["box"].split(",")]


@on_every_screen
def test_the_frame_starts_at_the_lesion_that_was_found(page: Page, api: FakeApi):
    dialog = frame_lesion(page, api)
    photo, frame = place(dialog.locator("img")), place(dialog.locator(".cropper i"))
    scale = photo["width"] / SIZE[0]
    assert photo["height"] / SIZE[1] == pytest.approx(scale, rel=0.01)
    center = (frame["x"] + frame["width"] / 2 - photo["x"]) / scale
    assert (center, frame["width"] / scale) == pytest.approx((400, 200), abs=3)

    assert sent_box(page, api) == [300, 160, 500, 360]
    expect(verdict(page)).to_be_focused()
    expect(earlier(page)).to_have_count(1)


def test_without_a_lesion_the_frame_starts_in_the_middle(page: Page, api: FakeApi):
    frame_lesion(page, api, box=None)

    assert sent_box(page, api) == [575, 225, 1025, 675]


def test_drag_and_wheel_move_and_zoom_the_photo_and_the_frame_stays_inside(page: Page, api: FakeApi):
    dialog = frame_lesion(page, api)
    view = place(dialog.locator(".cropper"))
    x, y = view["x"] + view["width"] / 2, view["y"] + view["height"] / 2
    scale = 400 / view["width"]
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 50 / scale, y - 20 / scale)
    page.mouse.up()
    page.mouse.wheel(0, -100)
    left, top, right, bottom = sent_box(page, api)
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((450, 280), abs=2)
    assert right - left == pytest.approx(200 / 1.1, abs=2)

    page.get_by_role("button", name="Frame the lesion yourself").click()
    expect(dialog).to_be_visible()
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 5000, y + 5000)
    page.mouse.up()
    assert sent_box(page, api)[:2] == [0, 0]


def test_the_keyboard_frames_the_lesion(page: Page, api: FakeApi):
    dialog = frame_lesion(page, api)
    expect(dialog.get_by_label("Zoom")).to_be_focused()
    page.keyboard.press("End")
    page.keyboard.press("Tab")
    page.keyboard.press("End")
    page.keyboard.press("Tab")
    page.keyboard.press("Home")
    page.keyboard.press("Enter")

    expect(tab(page).get_by_text("The frame marks the area that you chose.")).to_be_visible()
    assert api.query["box"] == f"{SIZE[0] - 24},0,{SIZE[0]},24"


def test_cancel_keeps_the_answer_and_the_focus(page: Page, api: FakeApi):
    frame_lesion(page, api)
    page.keyboard.press("Escape")

    expect(page.get_by_role("button", name="Frame the lesion yourself")).to_be_focused()
    expect(earlier(page)).to_have_count(0)
    assert "box" not in api.query


def test_a_photo_too_dark_to_frame_gets_advice_for_the_next_one(page: Page, api: FakeApi):
    api.lesion = not_usable_answer("too_dark")
    add(page)
    expect(verdict(page)).to_be_visible()
    expect(page.get_by_role("button", name="Frame the lesion yourself")).to_have_count(0)
    start_over(page)
    hint = tab(page).locator("[data-slot=hint]")
    expect(hint).to_have_text("More light: the last photo was too dark.")

    api.lesion = lesion_answer()
    add(page)
    expect(verdict(page)).to_have_text(re.compile("benign"))
    start_over(page)
    expect(hint).to_be_hidden()
