"""Hints before a photo is sent, on drawn pictures."""

import base64
import io
from pathlib import Path

import pytest
from PIL import Image, ImageEnhance, ImageFilter
from playwright.sync_api import Browser, Page, Route, expect

from samples.face import draw_face
from samples.lesion import draw_lesion
from tests.ui.conftest import FakeApi, not_usable_answer
from tests.ui.test_lesion_in_browser import add as add_lesion
from tests.ui.test_lesion_in_browser import start_over, tab, verdict
from ui.memory_files import SCRIPTS

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated"),  # by Gradio
]

LOOK = """
async ([text, isLesion]) => {
    const { lookAtFile } = await import(new URL("static/photo_hints.js", location.href));
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return lookAtFile(new File([bytes], "a.jpg"), { isLesion });
}
"""


def module(route: Route) -> None:
    """Serve a module that browsers get as a part of ``page.js``."""
    route.fulfill(path=SCRIPTS / Path(route.request.url).name, content_type="text/javascript")


def jpeg(picture: Image.Image) -> bytes:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=92)
    return data.getvalue()


@pytest.fixture(scope="module")
def lesion() -> Image.Image:
    return draw_lesion(seed=3)


def from_far(lesion: Image.Image, scale: float) -> Image.Image:
    """Draw a lesion as the same camera sees it from a larger distance."""
    skin = Image.new("RGB", lesion.size, lesion.getpixel((20, 20)))
    side = round(scale * lesion.width)
    place = (lesion.width - side) // 2
    skin.paste(lesion.resize((side, side), Image.Resampling.LANCZOS), (place, place))
    return skin


def test_drawn_lesions_get_the_hint_of_what_they_lack(page: Page, lesion: Image.Image):
    page.route("**/static/photo_hints.js", module)
    light, blur = ImageEnhance.Brightness(lesion).enhance, ImageFilter.GaussianBlur
    pictures = {
        "as drawn": (lesion, None),
        "a little darker": (light(0.6), None),
        "dark": (light(0.3), "too_dark"),
        "bright": (light(1.2), None),
        "white": (light(1.7), "overexposed"),
        "a little blurred": (lesion.filter(blur(1)), None),
        "blurred": (lesion.filter(blur(3)), "blurred"),
        "at half the size": (from_far(lesion, 0.5), None),
        "at a seventh of the size": (from_far(lesion, 0.15), "lesion_too_small"),
        "a thumbnail": (lesion.resize((120, 120)), "too_small"),
        "one colour": (Image.new("RGB", (640, 480), "tan"), None),
    }

    found = {
        name: page.evaluate(LOOK, [base64.b64encode(jpeg(picture)).decode(), True])
        for name, (picture, _) in pictures.items()
    }

    assert found == {name: hint for name, (_, hint) in pictures.items()}
    face = jpeg(draw_face(num_lesions=8, redness=0.4, seed=2))
    assert page.evaluate(LOOK, [base64.b64encode(face).decode(), False]) is None
    assert page.evaluate(LOOK, [base64.b64encode(b"no photo").decode(), True]) is None


def test_the_hint_stands_above_the_photo_while_it_is_sent_and_before_the_next(
    page: Page, api: FakeApi, lesion: Image.Image
):
    held = []
    page.route("**/v1/lesion*", lambda route: held.append(route))
    add_lesion(page, jpeg(ImageEnhance.Brightness(lesion).enhance(0.3)))
    expect(tab(page).locator(".hint:has(+ .preview)")).to_have_text("More light: the picture is dark.")
    expect(page.locator("#announcements")).to_have_text("More light: the picture is dark.")
    held[0].continue_()
    expect(verdict(page)).to_have_text("Looks benign")
    expect(tab(page).locator(".hint:visible")).to_have_count(0)
    start_over(page)
    expect(tab(page).locator("[data-slot=hint]")).to_have_text("More light: the last photo was too dark.")

    page.unroute("**/v1/lesion*")
    api.lesion = not_usable_answer("blurred")
    add_lesion(page, jpeg(ImageEnhance.Brightness(lesion).enhance(0.3)))
    expect(verdict(page)).to_be_visible()
    start_over(page)
    expect(tab(page).locator("[data-slot=hint]")).to_contain_text("Sharper:", use_inner_text=True)


def test_photos_of_a_series_are_named_by_their_numbers(page: Page):
    face = draw_face(num_lesions=8, redness=0.4, seed=2)
    dark, blurred = ImageEnhance.Brightness(face).enhance(0.3), face.filter(ImageFilter.GaussianBlur(5))
    page.get_by_role("tab", name="Progress").click()
    page.get_by_label("Photos of one face").set_input_files(
        [
            {"name": f"{number}.jpg", "mimeType": "image/jpeg", "buffer": jpeg(picture)}
            for number, picture in enumerate((dark, face, blurred, dark))
        ]
    )

    hints = page.locator(".series-hints li")
    expect(hints).to_have_text(
        [
            "Photo 1, Photo 4: More light: the picture is dark.",
            "Photo 3: Sharper: the picture is blurred. Hold still and focus.",
        ]
    )
    page.get_by_role("button", name="Remove photo 1").click()
    expect(hints.last).to_have_text("Photo 3: More light: the picture is dark.")


CAMERA = """
Object.defineProperty(navigator, 'mediaDevices', { value: { getUserMedia: async () => {
    const canvas = Object.assign(document.createElement('canvas'), { width: 640, height: 480 });
    const context = canvas.getContext('2d');
    window.paint = (colour) => {
        const draw = () => {
            context.fillStyle = colour;
            context.fillRect(0, 0, 640, 480);
        };
        clearInterval(window.painter);
        window.painter = setInterval(draw, 50);
        draw();
    };
    window.paint('#201810');
    return canvas.captureStream(20);
} } });
"""


def test_the_camera_says_what_its_picture_lacks(chromium: Browser, page_url: str, api: FakeApi):
    page = chromium.new_page()
    page.add_init_script(CAMERA)
    page.goto(page_url)
    page.locator("#panel-lesion").get_by_role("button", name="Use the camera").click()
    hint = page.get_by_role("dialog", name="Camera").get_by_role("status")

    expect(hint).to_have_text("More light: the picture is dark.")
    page.evaluate("window.paint('#c8a080')")
    expect(hint).to_have_text("Light and sharpness are fine.")
    page.get_by_role("button", name="Cancel").click()
    page.close()
