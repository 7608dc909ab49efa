"""The Lesion tab in headless Chromium, with answers that a test sets: layout of photo, boxes and verdicts."""

import io
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect

import ui.site
from serve.lesion.schemas import LesionAnswer
from tests.e2e.conftest import chromium  # noqa: F401  # pyright: ignore[reportUnusedImport]
from tests.ui.conftest import FakeApi, lesion_answer, not_usable_answer
from ui.client import ApiClient
from ui.config import UiConfig
from ui.uploads import UploadFolder

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings(
        "ignore:'future.no_silent_downcasting' is deprecated"
    ),  # by Gradio's statistics
]

DESK: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
on_every_screen = pytest.mark.parametrize("page", [DESK, PHONE], ids=["desk", "phone"], indirect=True)
PORTRAIT, LANDSCAPE = (1170, 2532), (1600, 900)
BOX, CROP = (300, 200, 500, 320), (160, 20, 640, 500)
"""Inside both photos."""


@pytest.fixture(scope="module")
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture(scope="module")
def page_url(api: FakeApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the page from a thread."""
    uploads = UploadFolder(tmp_path_factory.mktemp("page") / "uploads", max_age_s=60, max_photo_bytes=10**7)
    client = ApiClient("http://api", transport=httpx.ASGITransport(api.app()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(uploads.path))
        patch.setattr(ui.site, "draw_lesion", lambda seed: Image.new("RGB", (64, 64)))
        patch.setattr(ui.site, "draw_series", lambda improving, seed: [Image.new("RGB", (64, 64))] * 2)
        site = ui.site.build_site(UiConfig(), uploads, client)
        server = uvicorn.Server(uvicorn.Config(site, port=0, log_level="error"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            thread.join(0.05)
            assert thread.is_alive()
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def page(request: pytest.FixtureRequest, chromium: Browser, page_url: str) -> Iterator[Page]:  # noqa: F811
    screen = request.param
    context = chromium.new_context(viewport=screen)
    context.set_default_timeout(90_000)
    expect.set_options(timeout=90_000)
    page = context.new_page()
    page.goto(page_url)
    yield page
    assert page.evaluate("document.documentElement.scrollWidth") <= screen["width"], "it scrolls sideways"
    context.close()


def classify(page: Page, api: FakeApi, answer: LesionAnswer, size_px: tuple[int, int]) -> Locator:
    """Upload a photo that gets an answer; returns the answer's card."""
    api.lesion = answer
    photo = io.BytesIO()
    Image.new("RGB", size_px, "tan").save(photo, "JPEG")
    page.locator("#lesion-picker input[type=file]").set_input_files(
        [{"name": "a.jpg", "mimeType": "image/jpeg", "buffer": photo.getvalue()}]
    )
    card = page.locator("#lesion-answer .answer")
    expect(card).to_be_visible()
    return card


@on_every_screen
@pytest.mark.parametrize("size_px", [PORTRAIT, LANDSCAPE], ids=["portrait", "landscape"])
def test_photo_frame_and_grad_cam_map_are_where_the_boxes_say(page: Page, api: FakeApi, size_px):
    answer = lesion_answer().model_copy(update={"lesion_box": BOX, "crop_box": CROP})

    classify(page, api, answer, size_px)

    photo = place(page.locator("#lesion-photo .photo"))
    assert photo["width"] / photo["height"] == pytest.approx(size_px[0] / size_px[1], rel=0.01)
    assert photo["height"] <= 521
    scale = photo["width"] / size_px[0]
    for name, box in (("lesion-box", BOX), ("grad-cam", CROP), ("seen", CROP)):
        shown = place(page.locator(f"#lesion-photo .{name}"))
        left, top = shown["x"] - photo["x"], shown["y"] - photo["y"]
        edges = (left, top, left + shown["width"], top + shown["height"])
        assert edges == pytest.approx([edge * scale for edge in box], abs=1.5), name


@on_every_screen
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
        page.get_by_role("button", name="Check another photo").click()
        expect(page.locator("#lesion-picker")).to_be_visible()

    assert colours["near"] == colours["not usable"]
    assert len(set(colours.values())) == 3


def place(element: Locator) -> Any:
    box = element.bounding_box()
    assert box is not None
    return box
