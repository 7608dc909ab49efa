"""The Lesion tab in headless Chromium, with answers that a test sets."""

import base64
import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Dialog, FilePayload, Locator, Page, Route, expect

from serve.lesion.grad_cam import grad_cam_png
from serve.lesion.schemas import LesionAnswer
from tests.ui.conftest import MAX_PHOTO_BYTES, FakeApi, lesion_answer, not_usable_answer, on_every_screen

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings(
        "ignore:'future.no_silent_downcasting' is deprecated"
    ),  # by Gradio's statistics
]

PORTRAIT, LANDSCAPE = (1170, 2532), (1600, 900)
BOX, CROP = (300, 200, 500, 320), (160, 20, 640, 500)
"""Inside both photos."""
DROP = """
([selector, files]) => {
    const transfer = new DataTransfer();
    for (const [name, type, text] of files) {
        const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
        transfer.items.add(new File([bytes], name, { type }));
    }
    const target = document.querySelector(selector);
    target.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: transfer }));
}
"""
PASTE = (
    DROP.replace("DragEvent", "ClipboardEvent")
    .replace("drop", "paste")
    .replace("dataTransfer:", "clipboardData:")
)


def jpeg(size_px: tuple[int, int] = (320, 240), kind: str = "JPEG", colour: str = "tan") -> bytes:
    photo = io.BytesIO()
    Image.new("RGB", size_px, colour).save(photo, kind)
    return photo.getvalue()


def file_of(photo: bytes, name: str = "a.jpg", mime: str = "image/jpeg") -> FilePayload:
    return {"name": name, "mimeType": mime, "buffer": photo}


def tab(page: Page) -> Locator:
    return page.locator("#panel-lesion")


def add(page: Page, photo: bytes | None = None, **named: str) -> None:
    content = jpeg() if photo is None else photo
    tab(page).locator(".drop input").set_input_files([file_of(content, **named)])


def drop(page: Page, *names: str, script: str = DROP, mime: str = "image/jpeg") -> None:
    text = base64.b64encode(jpeg()).decode()
    page.evaluate(script, ["#panel-lesion .lead", [[name, mime, text] for name in names]])


def verdict(page: Page) -> Locator:
    return tab(page).locator(".answer .verdict h3")


def problem(page: Page) -> Locator:
    return tab(page).locator("[data-slot=problem]")


def classify(page: Page, api: FakeApi, answer: LesionAnswer, size_px: tuple[int, int]) -> Locator:
    api.lesion = answer
    add(page, jpeg(size_px))
    expect(verdict(page)).to_be_visible()
    return tab(page).locator(".answer")


def place(element: Locator) -> Any:
    box = element.bounding_box()
    assert box is not None
    return box


def start_over(page: Page) -> None:
    page.get_by_role("button", name="Check another photo").first.click()
    expect(tab(page).locator(".photo-input")).to_be_visible()


@on_every_screen
@pytest.mark.parametrize("size_px", [PORTRAIT, LANDSCAPE], ids=["portrait", "landscape"])
def test_a_photo_keeps_its_ratio_and_frame_and_map_are_where_the_boxes_say(page: Page, api: FakeApi, size_px):
    answer = lesion_answer().model_copy(update={"lesion_box": BOX, "crop_box": CROP})

    classify(page, api, answer, size_px)

    photo = place(tab(page).locator(".stage .photo"))
    assert photo["width"] / photo["height"] == pytest.approx(size_px[0] / size_px[1], rel=0.01)
    scale = photo["width"] / size_px[0]
    for name, box in (("lesion-box", BOX), ("grad-cam", CROP), ("seen", CROP)):
        shown = place(tab(page).locator(f".{name}"))
        left, top = shown["x"] - photo["x"], shown["y"] - photo["y"]
        edges = (left, top, left + shown["width"], top + shown["height"])
        assert edges == pytest.approx([edge * scale for edge in box], abs=1.5), name


@on_every_screen
def test_the_verdict_is_in_view_and_has_the_focus_for_screen_readers(page: Page, api: FakeApi):
    classify(page, api, lesion_answer(), PORTRAIT)

    expect(verdict(page)).to_be_focused()
    expect(verdict(page)).to_be_in_viewport(ratio=1)
    assert api.query == {"explain": "true", "top_k": "27"} and api.names == ["photo-0"]
    assert api.photos == [jpeg(PORTRAIT)], "the photo arrives as it is"


def test_colours_of_the_three_states_differ_and_no_answer_is_not_green(page: Page, api: FakeApi):
    colours = {}
    for name, answer in (
        ("benign", lesion_answer()),
        ("malignant", lesion_answer(malignant=0.8)),
        ("near", lesion_answer(benign_threshold=0.05)),
        ("not usable", not_usable_answer("not_skin")),
    ):
        card = classify(page, api, answer, LANDSCAPE)
        colours[name] = card.locator(".verdict").evaluate("card => getComputedStyle(card).backgroundColor")
        start_over(page)

    assert colours["near"] == colours["not usable"]
    assert len(set(colours.values())) == 3


@pytest.mark.parametrize("way", ["file", "drop", "paste", "example"])
def test_after_every_way_of_adding_the_next_photo_can_be_added(page: Page, api: FakeApi, way: str):
    for _ in range(2):  # the same photo twice
        if way == "file":
            add(page)
        elif way == "example":
            tab(page).locator("[data-example]").nth(1).click()
        else:
            drop(page, "a.jpg", script=DROP if way == "drop" else PASTE)
        expect(verdict(page)).to_have_text("Looks benign")

        again = page.get_by_role("button", name="Check another photo").first
        assert place(again)["height"] >= 44
        again.click()
        expect(tab(page).locator(".answer")).to_have_count(0)
        expect(tab(page).locator("[data-example]").first).to_be_visible()
        expect(tab(page).get_by_role("heading", name="A suitable photo")).to_be_visible()
        expect(tab(page).locator(".drop input")).to_be_focused()


@on_every_screen
def test_a_phone_shows_the_photo_between_the_verdict_and_the_diagnoses(page: Page, api: FakeApi):
    card = classify(page, api, lesion_answer(), PORTRAIT)

    photo, verdict_card = place(tab(page).locator(".stage .photo")), place(card.locator(".verdict"))
    bars = place(card.locator(".bars"))
    if page.viewport_size and page.viewport_size["width"] <= 760:
        assert verdict_card["y"] + verdict_card["height"] <= photo["y"] < bars["y"]
    else:
        assert photo["x"] + photo["width"] <= verdict_card["x"] and photo["y"] < bars["y"]


def test_the_next_photo_can_be_chosen_at_the_end_of_an_answer(page: Page, api: FakeApi):
    classify(page, api, lesion_answer(), LANDSCAPE)

    tab(page).get_by_role("button", name="Check another photo").last.click()

    expect(tab(page).locator(".answer")).to_have_count(0)
    expect(tab(page).locator(".drop input")).to_be_focused()


def test_only_the_answer_for_a_drawing_says_that_it_is_one(page: Page, api: FakeApi):
    classify(page, api, lesion_answer(), LANDSCAPE)
    expect(tab(page).get_by_text("This result is for a drawing")).to_have_count(0)

    start_over(page)
    tab(page).locator("[data-example]").first.click()

    expect(
        tab(page).locator(".verdict").get_by_text("This result is for a drawing, not for a photo.")
    ).to_be_visible()
    page.evaluate("window.print = () => {}")
    tab(page).get_by_role("button", name="Print or save as PDF").click()
    expect(page.locator("#report header")).to_contain_text("This result is for a drawing, not for a photo.")


def test_a_drop_on_an_answer_starts_a_new_photo(page: Page, api: FakeApi):
    classify(page, api, lesion_answer(), LANDSCAPE)
    api.lesion = lesion_answer(malignant=0.8)

    drop(page, "b.jpg")

    expect(verdict(page)).to_have_text("Have it checked")


def test_several_files_no_photo_and_text_in_the_clipboard_get_a_message(page: Page, api: FakeApi):
    drop(page, "a.jpg", "b.jpg", "c.jpg")
    expect(problem(page)).to_have_text("These are 3 files. Add one photo: each is classified by itself.")
    drop(page, "0a.txt", mime="text/plain")
    expect(problem(page)).to_contain_text("“\u20680a.txt\u2069” is not a photo. Choose a photo: JPEG, PNG")
    add(page, bytes(MAX_PHOTO_BYTES + 1))
    expect(problem(page)).to_contain_text("“\u2068a.jpg\u2069” has 3.0 MB; at most 3 MB are allowed.")
    add(page, b"", name="b.jpg")
    expect(problem(page)).to_contain_text("“\u2068b.jpg\u2069” is empty.")
    drop(page, script=PASTE)
    expect(problem(page)).to_contain_text("There is no photo in the clipboard.")

    assert api.photos == [], "nothing was sent"
    add(page)
    expect(verdict(page)).to_be_visible()
    start_over(page)
    expect(problem(page)).to_be_hidden()


def test_a_photo_that_the_api_rejects_is_an_error_beside_the_input(page: Page, api: FakeApi):
    api.fail(400, "unreadable_image", "the photo is <b>empty</b> (0 bytes); send the file itself")

    add(page)

    error = tab(page).get_by_role("alert").filter(has_text="This file could not be read")
    expect(error).to_contain_text("The photo is <b>empty</b> (0 bytes); send the file itself.")
    expect(error.get_by_role("heading")).to_be_focused()
    expect(tab(page).locator(".photo-input")).to_be_visible()
    expect(error.get_by_role("button")).to_have_count(0)


@on_every_screen
def test_without_a_server_the_photo_stays_and_can_be_sent_again(page: Page, api: FakeApi):
    page.route("**/v1/lesion*", lambda route: route.abort())

    add(page)

    error = tab(page).get_by_role("alert").filter(has_text="No connection to the server")
    expect(error).to_be_visible()
    expect(error.get_by_role("heading")).to_be_focused()
    page.unroute("**/v1/lesion*")
    error.get_by_role("button", name="Try again").click()
    expect(verdict(page)).to_be_visible()


def test_offline_is_called_offline(page: Page, api: FakeApi):
    page.context.set_offline(True)
    add(page)
    expect(tab(page).get_by_role("heading", name="You are offline")).to_be_visible()

    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect(verdict(page)).to_be_visible()


def test_a_busy_server_is_tried_three_times_and_its_wait_is_kept(page: Page, api: FakeApi):
    page.clock.install()
    api.fail(503, "overloaded", "the server is busy; try again in 2 s")
    assert api.error is not None
    api.error.headers["retry-after"] = "5"
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if "/v1/lesion" in request.url else None)

    add(page)
    while len(sent) < 3:
        page.clock.run_for(500)
    retry = page.get_by_role("button", name="Try again")
    expect(retry).to_have_text("Try again in 5 seconds")
    retry.click(force=True)
    api.error = None
    page.clock.run_for(6000)
    expect(retry).to_have_text("Try again")
    assert len(sent) == 3
    retry.click()
    expect(verdict(page)).to_be_visible()


def test_too_many_requests_say_when_to_try_again(page: Page, api: FakeApi):
    api.fail(429, "rate_limited", "this address may send 1 request a second; wait 1 s")
    assert api.error is not None
    api.error.headers["retry-after"] = "1"

    add(page)

    expect(page.get_by_role("heading", name="The limit of requests is reached")).to_be_visible()
    expect(page.get_by_role("button", name="Try again", exact=True)).to_be_visible()


def test_the_upload_shows_its_progress_and_can_be_cancelled(page: Page, api: FakeApi):
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 200_000}
    session.send("Network.emulateNetworkConditions", slow)
    texts = tab(page).locator(".working [data-slot=text]")

    add(page, jpeg() + bytes(2_000_000))

    expect(texts).to_have_text(re.compile(r"Uploading: [1-9]\d?%"))
    bar = tab(page).get_by_role("progressbar")
    assert 0 < int(bar.get_attribute("aria-valuenow") or 0) < 100
    expect(tab(page).get_by_role("heading", name="Classifying the photo")).to_be_focused()
    page.get_by_role("button", name="Cancel").click()
    expect(tab(page).locator(".photo-input")).to_be_visible()
    expect(tab(page).locator(".working")).to_have_count(0)
    assert api.photos == []


def test_a_photo_that_the_browser_cannot_draw_is_drawn_by_the_server(page: Page, api: FakeApi):
    answer = lesion_answer().model_copy(update={"lesion_box": BOX, "crop_box": CROP})
    api.lesion = answer

    add(page, jpeg((800, 600), "TIFF"), name="IMG_1.TIF", mime="")

    expect(verdict(page)).to_be_visible()
    image = tab(page).locator(".stage img[data-photo]")
    expect(image).to_have_attribute("src", re.compile("^data:image/jpeg"))
    photo, box = place(tab(page).locator(".stage .photo")), place(tab(page).locator(".lesion-box"))
    assert (box["x"] - photo["x"]) / photo["width"] == pytest.approx(300 / 800, abs=0.01)


def test_a_photo_that_nobody_can_draw_has_its_answer(page: Page, api: FakeApi):
    add(page, b"no photo at all", name="IMG_1.HEIC", mime="")

    expect(verdict(page)).to_be_visible()
    expect(tab(page).get_by_text("This photo cannot be shown here")).to_be_visible()
    expect(tab(page).locator(".stage")).to_be_hidden()


def grad_cam_of(map_HW: np.ndarray) -> str:
    return grad_cam_png(map_HW.astype(np.float32))


def test_the_map_is_off_at_first_then_lines_and_its_strength_can_be_set(page: Page, api: FakeApi):
    y_HW, x_HW = np.mgrid[0:32, 0:32]
    distance_HW = np.hypot(x_HW - 7.5, y_HW - 15.5)  # the middle of the map is in the left half of the crop
    answer = lesion_answer().model_copy(
        update={"lesion_box": BOX, "crop_box": CROP, "heatmap_png": grad_cam_of(1 - distance_HW / 40)}
    )
    classify(page, api, answer, LANDSCAPE)
    grad_cam, lines = tab(page).locator(".grad-cam"), tab(page).locator(".contours")
    strength = tab(page).get_by_label("Strength of the blue")
    expect(grad_cam).to_have_css("opacity", "0")
    expect(lines).to_be_hidden()
    expect(strength).to_be_hidden()

    tab(page).get_by_text("Where the network looked").click()
    expect(lines.locator("path")).to_have_count(4)
    expect(grad_cam).to_have_css("opacity", "0")
    crop, inner = place(lines), place(lines.locator(".over.from-80"))
    center = (inner["x"] + inner["width"] / 2 - crop["x"], inner["y"] + inner["height"] / 2 - crop["y"])
    assert center == pytest.approx((crop["width"] / 4, crop["height"] / 2), abs=3)
    assert inner["width"] / crop["width"] == pytest.approx(2 * 8 / 32, abs=0.02)
    words = tab(page).locator("[data-slot=map-text]")
    expect(words).to_have_text(re.compile(r"encloses 2\d% of the square .* 2\d% of it is inside the frame"))
    strength.fill("20")
    expect(grad_cam).to_have_css("opacity", "0.2")


def test_a_map_without_evidence_has_no_line(page: Page, api: FakeApi):
    answer = lesion_answer().model_copy(update={"heatmap_png": grad_cam_of(np.zeros((7, 7)))})
    classify(page, api, answer, LANDSCAPE)

    tab(page).get_by_text("Where the network looked").click()

    expect(tab(page).get_by_text("There is no line: no area of this photo stands out.")).to_be_visible()
    expect(tab(page).locator(".contours path")).to_have_count(0)


def test_leaving_warns_only_while_there_is_something_to_lose(page: Page, api: FakeApi):
    dialogs: list[str] = []

    def accept(dialog: Dialog) -> None:
        dialogs.append(dialog.type)
        dialog.accept()

    page.on("dialog", accept)
    page.reload()
    expect(tab(page).locator(".photo-input")).to_be_visible()
    assert dialogs == []

    tab(page).locator("[data-example]").first.click()
    expect(verdict(page)).to_be_visible()
    page.reload()
    expect(tab(page).locator(".photo-input")).to_be_visible()
    assert dialogs == []

    add(page)
    expect(verdict(page)).to_be_visible()
    verdict(page).click()  # browsers ask only after the person has done something
    page.reload()
    expect(tab(page).locator(".photo-input")).to_be_visible()
    assert dialogs == ["beforeunload"]


def test_an_answer_of_another_version_is_an_error(page: Page, api: FakeApi):
    def answer(route: Route) -> None:
        route.fulfill(json={"verdict": "fine"})

    page.route("**/v1/lesion*", answer)
    add(page)

    expect(tab(page).get_by_role("alert").filter(has_text="different versions")).to_be_visible()
