"""The camera of the page, its ring and the camera program of a phone, with two drawn cameras of Chromium."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.chromium import launch
from tests.ui.conftest import DESK, PHONE, TIMEOUT_MS, FakeApi
from tests.ui.test_lesion_in_browser import place

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated"),  # by Gradio
]

FACING = {"lesion": "environment", "progress": "user"}
HAS_PICTURES = 4
"""HAVE_ENOUGH_DATA of a video."""
HINT = "Fill the ring with the lesion"
RECORD = """
window.asked = [];
window.tracks = [];
const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async (wish) => {
    window.asked.push(wish.video);
    const stream = await ask(wish);
    window.tracks.push(...stream.getTracks());
    document.documentElement.dataset.opened = String(window.tracks.length);
    return stream;
};
"""
PORTRAIT = """
navigator.mediaDevices.getUserMedia = async () => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 1080, height: 1920 });
    canvas.getContext("2d").fillRect(0, 0, 1080, 1920);
    return canvas.captureStream(5);
};
"""
REFUSE = """
navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("no", "NotAllowedError"));
"""
NOT_SECURE = "Object.defineProperty(window, 'isSecureContext', { value: false })"
ONE_CAMERA = """
const list = navigator.mediaDevices.enumerateDevices.bind(navigator.mediaDevices);
navigator.mediaDevices.enumerateDevices = async () => {
    const all = await list();
    return all.filter(({ kind }) => kind === "videoinput").slice(1);
};
"""


@pytest.fixture(scope="module")
def cameras() -> Iterator[Browser]:
    """Start a browser that draws two cameras and allows their use."""
    flags = ("--use-fake-device-for-media-stream=device-count=2", "--use-fake-ui-for-media-stream")
    with launch(*flags) as browser:
        yield browser


class Device:
    """Open the page on a phone or a desktop, after scripts of a test."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser = browser
        self.url = url

    def open(self, name: str, *scripts: str, touch: bool = True) -> tuple[Page, Locator]:
        """Return the page and the panel of a tab."""
        screen = PHONE if touch else DESK
        context = self.browser.new_context(
            viewport=screen,
            has_touch=touch,
            is_mobile=touch,
            service_workers="block",
            reduced_motion="reduce",
        )
        context.set_default_timeout(TIMEOUT_MS)
        page = context.new_page()
        for script in (RECORD, *scripts):
            page.add_init_script(script)
        page.goto(f"{self.url}#{name}")
        panel = page.locator(f"#panel-{name}")
        expect(panel.locator(".drop")).to_be_visible()
        return page, panel


@pytest.fixture
def device(cameras: Browser, page_url: str, api: FakeApi) -> Iterator[Device]:
    api.reset()
    yield Device(cameras, page_url)
    for context in cameras.contexts:
        context.close()


def open_camera(page: Page, panel: Locator) -> Locator:
    panel.get_by_role("button", name="Use the camera").click()
    dialog = page.get_by_role("dialog", name="Camera")
    expect(dialog).to_be_visible()
    expect(dialog.locator("video")).to_have_js_property("readyState", HAS_PICTURES)
    return dialog


def assert_inside(inner: dict[str, float], outer: dict[str, float]) -> None:
    for start, size in (("x", "width"), ("y", "height")):
        assert outer[start] <= inner[start]
        assert inner[start] + inner[size] <= outer[start] + outer[size] + 1


def test_a_phone_shows_the_ring_for_a_lesion_and_sends_the_picture(device: Device, api: FakeApi):
    page, panel = device.open("lesion")
    dialog = open_camera(page, panel)

    ring = dialog.locator("i[data-ring]")
    expect(ring).to_be_visible()
    expect(ring).to_have_css("border-top-color", "rgb(255, 255, 255)")
    expect(dialog.get_by_text(HINT)).to_be_visible()
    assert [wish["facingMode"] for wish in page.evaluate("asked")] == ["environment"]
    dialog.get_by_role("button", name="Take the photo").click()

    expect(panel.locator(".answer .verdict h3")).to_be_visible()
    assert api.photos[0].startswith(b"\xff\xd8\xff") and len(api.photos) == 1
    assert page.evaluate("tracks.map(({ readyState }) => readyState)") == ["ended"]
    page.get_by_role("button", name="Check another photo").first.click()
    expect(panel.get_by_role("heading", name="A suitable photo")).to_be_visible()


def test_a_phone_shows_no_ring_for_a_face_and_uses_the_front_camera(device: Device):
    page, panel = device.open("progress")
    dialog = open_camera(page, panel)

    expect(dialog.locator("[data-ring]")).to_have_count(2)
    for ring in dialog.locator("[data-ring]").all():
        expect(ring).to_be_hidden()
    assert [wish["facingMode"] for wish in page.evaluate("asked")] == ["user"]
    dialog.get_by_role("button", name="Take the photo").click()
    expect(panel.locator(".series-tiles li")).to_have_count(1)


@pytest.mark.parametrize(
    "screen",
    [PHONE, {"width": 844, "height": 390}, {"width": 320, "height": 568}, DESK],
    ids=["phone", "turned", "small", "desk"],
)
@pytest.mark.parametrize("is_portrait", [True, False], ids=["portrait", "landscape"])
def test_ring_and_buttons_of_the_camera_are_in_view(device: Device, screen: Any, is_portrait: bool):
    page, panel = device.open("lesion", *([PORTRAIT] if is_portrait else []))
    page.set_viewport_size(screen)
    dialog = open_camera(page, panel)

    view, video = {"x": 0, "y": 0, **screen}, dialog.locator("video")
    for button in dialog.locator("button:visible").all():
        assert_inside(place(button), view)
        assert place(button)["height"] >= 44
    width, height = video.evaluate("video => [video.videoWidth, video.videoHeight]")
    assert (width < height) is is_portrait
    box, ring = place(video), place(dialog.locator("i[data-ring]"))
    scale = min(box["width"] / width, box["height"] / height)
    assert ring["width"] == pytest.approx(ring["height"], abs=1)
    assert ring["width"] == pytest.approx(min(width, height) * scale / 2, abs=8), "half of the shorter side"
    assert_inside(ring, box)


def test_the_next_camera_is_one_press_away(device: Device):
    page, panel = device.open("lesion")
    dialog = open_camera(page, panel)
    switch = dialog.get_by_role("button", name="Switch camera")
    for number in (2, 3):
        switch.click()
        expect(page.locator("html")).to_have_attribute("data-opened", str(number))
        expect(dialog.locator("video")).to_have_js_property("readyState", HAS_PICTURES)

    used = page.evaluate("tracks.map((track) => track.getSettings().deviceId)")
    assert used[0] == used[2] != used[1]
    assert page.evaluate("tracks.map(({ readyState }) => readyState)") == ["ended", "ended", "live"]
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_have_count(0)
    assert page.evaluate("tracks.every(({ readyState }) => readyState === 'ended')")
    expect(panel.get_by_role("button", name="Use the camera")).to_be_focused()


def test_a_single_camera_has_no_switch(device: Device):
    page, panel = device.open("lesion", ONE_CAMERA)
    dialog = open_camera(page, panel)
    expect(dialog.locator("[role=status]")).not_to_be_empty()  # it has looked once

    expect(dialog.get_by_role("button", name="Switch camera")).to_be_hidden()


def test_a_next_camera_that_does_not_open_is_a_message(device: Device):
    page, panel = device.open("lesion")
    dialog = open_camera(page, panel)
    page.evaluate(f"() => {{ {REFUSE} }}")
    dialog.get_by_role("button", name="Switch camera").click()

    expect(panel.get_by_text("The camera cannot be used")).to_be_visible()
    expect(dialog).to_have_count(0)
    assert page.evaluate("tracks.map(({ readyState }) => readyState)") == ["ended"]


@pytest.mark.parametrize("name", FACING)
@pytest.mark.parametrize("is_secure", [True, False], ids=["https", "http"])
@pytest.mark.parametrize("touch", [True, False], ids=["phone", "desk"])
def test_a_phone_offers_its_own_camera_program_too(device: Device, name: str, is_secure: bool, touch: bool):
    _, panel = device.open(name, *([] if is_secure else [NOT_SECURE]), touch=touch)
    capture = panel.locator("[data-capture]")

    expect(panel.locator("[data-camera]")).to_be_visible(visible=is_secure)
    expect(capture).to_be_visible(visible=touch)
    expect(capture.locator("input")).to_have_attribute("capture", FACING[name])


@pytest.mark.parametrize("touch", [True, False], ids=["phone", "desk"])
def test_a_camera_that_is_not_allowed_is_a_message_and_a_phone_offers_its_own(device: Device, touch: bool):
    _, panel = device.open("lesion", REFUSE, touch=touch)
    button = panel.get_by_role("button", name="Use the camera")
    button.click()

    expect(panel.get_by_text("The camera cannot be used")).to_be_visible()
    expect(panel.locator("[data-capture]")).to_be_visible(visible=touch)
    expect(button).to_be_focused()


def test_escape_closes_the_camera_on_a_desktop_and_it_opens_again(device: Device, api: FakeApi):
    page, panel = device.open("lesion", touch=False)
    dialog = open_camera(page, panel)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert api.photos == []

    open_camera(page, panel).get_by_role("button", name="Take the photo").click()
    expect(panel.locator(".answer .verdict h3")).to_be_visible()
