"""Both tabs of the page, in headless Chromium, through the real server with its real networks."""

import io
import re
from collections.abc import Iterator

import pillow_heif
import pytest
from PIL import ExifTags, Image
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    FilePayload,
    Locator,
    Page,
    ViewportSize,
    expect,
)

from samples.lesion import draw_lesion
from samples.series import draw_series
from serve.schemas import DISCLAIMER

pillow_heif.register_heif_opener()  # it writes HEIC

pytestmark = [pytest.mark.server, pytest.mark.browser]

CALL_API = """
async ([url, photo]) => {
    const headers = { "content-type": "image/jpeg", "x-request-id": "case-7" };
    const post = async (address, body) => {
        const answer = await fetch(address, { method: "POST", body, headers });
        await answer.json();
        return [answer.status, answer.headers.get("x-request-id")];
    };
    try {
        const [body, large] = [new Uint8Array(photo), new Uint8Array(3e7)];
        return [await post(url, body), await post(`${url}?topk=3`, body), await post(url, large)];
    } catch (error) { return error.name; }
}
"""
"""Its header and content type need a preflight request."""
TIMEOUT_MS = 90_000  # a busy machine with two cores
DESK: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
VERDICT = re.compile("^(Looks benign|Have it checked|Inconclusive)$")
PROGRESS_VERDICT = re.compile("^(Improved|Worsened)$")

on_every_screen = pytest.mark.parametrize(
    "page",
    [pytest.param(DESK, id="desk", marks=pytest.mark.slow), pytest.param(PHONE, id="phone")],
    indirect=True,
)


@pytest.fixture
def page(request: pytest.FixtureRequest, chromium: Browser, server_url: str) -> Iterator[Page]:
    """Open the page; a request to another host or an error in the console fails the test."""
    screen = getattr(request, "param", DESK)
    context = chromium.new_context(viewport=screen)
    context.set_default_timeout(TIMEOUT_MS)
    expect.set_options(timeout=TIMEOUT_MS)
    page = context.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if _is_error(message) else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "request", lambda request: None if _is_ours(request.url, server_url) else errors.append(request.url)
    )
    page.goto(f"{server_url}/")
    expect(page.locator("#panel-lesion [data-example]").first).to_be_visible()

    yield page

    assert _width(page) <= screen["width"], "the page scrolls sideways"
    context.close()
    assert errors == []


@on_every_screen
def test_a_lesion_example_is_classified(page: Page):
    page.locator("#panel-lesion [data-example]").first.click()

    answer = page.locator("#panel-lesion .answer")
    expect(answer.get_by_role("heading", name=VERDICT)).to_be_visible()
    expect(answer).to_contain_text(
        re.compile(r"(Low|Medium|High) risk: [<>]?[\d.]+% probability that it is malignant")
    )
    expect(answer).to_contain_text(DISCLAIMER)
    expect(answer).to_contain_text(re.compile("Most likely|No diagnosis is"))
    expect(answer.locator(".bars li").first).to_contain_text(re.compile("(benign|malignant).*%", re.DOTALL))


def test_where_the_network_looked_can_be_shown_and_hidden(page: Page):
    page.locator("#panel-lesion [data-example]").first.click()

    lines = page.locator("#panel-lesion .contours")
    expect(lines).to_be_hidden()
    page.get_by_text("Where the network looked").click()
    expect(lines).to_be_visible()


def test_more_information_opens_and_the_next_photo_can_be_added(page: Page):
    page.locator("#panel-lesion [data-example]").nth(1).click()
    page.get_by_text("More information").click()

    expect(page.locator("#panel-lesion dl")).to_be_visible()
    page.get_by_role("button", name="Check another photo").first.click()
    expect(page.locator("#panel-lesion .photo-input")).to_be_visible()
    expect(page.locator("#panel-lesion .answer")).to_have_count(0)


def test_a_photo_with_an_exif_rotation_is_shown_upright(page: Page):
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = draw_lesion(seed=5).crop((0, 60, 600, 540))
    photo = _jpeg(lying, exif=exif)

    _add(page.locator("#panel-lesion .photo-input"), [photo])

    expect(page.locator("#panel-lesion").get_by_role("heading", name=VERDICT)).to_be_visible()
    shown = page.locator("#panel-lesion .photo").bounding_box()
    assert shown is not None
    assert shown["height"] / shown["width"] == pytest.approx(600 / 480, rel=0.01)


def test_a_file_that_is_no_photo_gets_an_error_card(page: Page):
    _add(page.locator("#panel-lesion .photo-input"), [b"<html>not a photo</html>"])

    alert = page.locator("#panel-lesion .card.error")
    expect(alert).to_contain_text("This file type is not supported")
    expect(alert).to_contain_text(re.compile("JPEG, PNG, WebP"))
    expect(page.locator("#panel-lesion .photo-input")).to_be_visible()


@on_every_screen
def test_a_black_photo_has_no_verdict_but_what_to_do(page: Page):
    _add(page.locator("#panel-lesion .photo-input"), [_jpeg(Image.new("RGB", (600, 450)))])

    answer = page.locator("#panel-lesion .answer")
    expect(answer.get_by_role("heading", name="This photo is too dark")).to_be_visible()
    expect(answer.locator(".verdict-head")).to_contain_text("cannot say whether it is benign or malignant")
    expect(answer).to_contain_text(re.compile("What to do.*Take it again in daylight", re.DOTALL))
    expect(answer).to_contain_text(DISCLAIMER)
    expect(answer).not_to_contain_text(re.compile("probability that|Looks|risk"))
    expect(answer.locator(".bars, .gauge")).to_have_count(0)
    expect(page.locator("#panel-lesion .stage img")).to_have_count(1)
    expect(page.locator("#panel-lesion .grad-cam")).to_have_count(0)


def test_a_heic_photo_is_classified_and_shown(page: Page):
    _add(
        page.locator("#panel-lesion .photo-input"),
        [_encoded(draw_lesion(seed=5), "HEIF")],
        name="IMG_1.HEIC",
        mime="",
    )

    expect(page.locator("#panel-lesion").get_by_role("heading", name=VERDICT)).to_be_visible()
    shown = page.locator("#panel-lesion .stage img").first
    expect(shown).to_have_attribute("src", re.compile("^data:image/jpeg"))
    assert _is_drawn(shown)


@on_every_screen
def test_a_series_example_is_compared(page: Page):
    tab = _open_progress(page)

    tab.locator("#panel-progress [data-example]").first.click()

    answer = tab.locator("#progress-answer .answer")
    expect(answer.get_by_role("heading", name=PROGRESS_VERDICT)).to_be_visible()
    expect(answer).to_contain_text(
        re.compile(r"% ?probability of improvement.*% ?probability of worsening", re.DOTALL)
    )
    expect(answer).to_contain_text(DISCLAIMER)
    expect(answer.locator("svg.plot:visible circle").first).to_be_visible()
    expect(answer.locator(".photos li")).to_have_count(5)


@on_every_screen
def test_uploaded_photos_are_compared_and_one_without_a_face_is_not_used(page: Page):
    tab = _open_progress(page)
    photos = [_jpeg(photo) for photo in draw_series(improving=True, num_photos=3, seed=13)]
    photos.insert(1, _jpeg(Image.new("RGB", (480, 480), "tan")))
    _add(tab.locator("#panel-progress .photo-input"), photos)
    expect(tab.locator(".series-tiles li")).to_have_count(4)
    tab.get_by_role("button", name="Compare in this order").click()

    tiles = tab.locator("#progress-answer .photos li")
    expect(tiles).to_have_count(4)
    expect(tiles.nth(1)).to_contain_text("no face found: not used")
    expect(tiles.nth(0).locator(".face-box")).to_be_visible()
    expect(tab.locator("#progress-answer .excluded")).to_have_count(1)


def test_heic_photos_are_previewed_and_missing_dates_are_requested(page: Page):
    tab = _open_progress(page)
    later, earlier = (_encoded(face, "HEIF") for face in draw_series(improving=True, num_photos=2, seed=13))
    dated = _jpeg(draw_series(improving=True, num_photos=2, seed=13)[1], exif=_taken("2026:03:09 18:30:00"))

    _add(tab.locator("#panel-progress .photo-input"), [later, earlier], name="IMG_1.HEIC", mime="")
    expect(tab.locator(".series-tiles li")).to_have_count(2)
    _add(tab.locator("#panel-progress .photo-input"), [dated])
    expect(tab.locator(".series-tiles li")).to_have_count(3)
    expect(tab.locator(".series-tiles img[src^='data:']")).to_have_count(2)
    tab.get_by_role("button", name="Compare", exact=True).click()

    question = tab.locator(".arrange")
    expect(question.get_by_role("heading", name="When were these photos taken?")).to_be_visible()
    expect(question.locator("img")).to_have_count(3)
    expect(question.get_by_label("Date of photo 3")).to_have_value("2026-03-09")
    question.get_by_label("Date of photo 1").fill("2026-03-10")
    question.get_by_label("Date of photo 2").fill("2026-03-01")
    question.get_by_role("button", name="Compare by these dates").click()

    answer = tab.locator("#progress-answer .answer")
    expect(answer.get_by_role("heading", name="Your photos, oldest first")).to_be_visible()
    expect(answer.locator(".photos li p:first-of-type")).to_have_text(
        [re.compile(rf"Photo {number}\s+Mar {day}, 2026") for number, day in ((1, "1"), (2, "9"), (3, "10"))]
    )
    expect(question).to_be_hidden()


def test_one_photo_only_and_no_face_get_error_cards(page: Page):
    tab = _open_progress(page)
    empty = _jpeg(Image.new("RGB", (480, 480), "tan"))
    alert = tab.locator("#progress-status").get_by_role("alert")

    _add(tab.locator("#panel-progress .photo-input"), [empty])
    expect(tab.locator(".series-tiles li")).to_have_count(1)
    tab.get_by_role("button", name="Compare", exact=True).click()
    expect(alert).to_contain_text("one photo only")

    _add(tab.locator("#panel-progress .photo-input"), [empty])
    expect(tab.locator(".series-tiles li")).to_have_count(2)
    tab.get_by_role("button", name="Compare in this order").click()
    expect(alert).to_contain_text("No face was found")


@on_every_screen
def test_about_shows_all_networks_and_how_to_call_them(page: Page, server_url: str):
    page.get_by_role("tab", name="About").click()

    expect(page.locator("#panel-about .model")).to_have_count(3)
    expect(page.locator("#panel-about .model-card summary")).to_have_text([re.compile("^Model card: ")] * 3)
    expect(page.locator("#panel-about .about-api")).to_contain_text(f"{server_url}/v1/lesion")


@pytest.mark.parametrize("allowed", [True, False])
def test_a_page_of_another_origin_calls_the_api_if_it_is_allowed(
    chromium: Browser, server_url: str, other_origin: str, allowed: bool
):
    page = chromium.new_page()
    origin = other_origin if allowed else other_origin.replace("127.0.0.1", "localhost")
    page.goto(f"{origin}/favicon.svg")

    found = page.evaluate(CALL_API, [f"{server_url}/v1/lesion", list(_jpeg(draw_lesion(seed=3)))])
    page.close()

    assert found == ([[200, "case-7"], [422, "case-7"], [413, "case-7"]] if allowed else "TypeError")


def _open_progress(page: Page) -> Locator:
    page.get_by_role("tab", name="Progress").click()
    expect(page.locator("#panel-progress [data-example]").first).to_be_visible()
    return page.locator("body")


def _add(picker: Locator, photos: list[bytes], *, name: str = "photo.jpg", mime: str = "image/jpeg") -> None:
    files: list[FilePayload] = [{"name": name, "mimeType": mime, "buffer": photo} for photo in photos]
    picker.locator(".drop input").set_input_files(files)


def _jpeg(picture: Image.Image, **options: object) -> bytes:
    return _encoded(picture, "JPEG", **options)


def _encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


def _taken(time: str) -> Image.Exif:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = time
    return exif


def _is_drawn(image: Locator) -> bool:
    return image.evaluate("image => image.decode().then(() => image.naturalWidth > 0)")


def _is_error(message: ConsoleMessage) -> bool:
    """Ignore the responses of the API that a test expects: Chromium logs each 4xx as an error."""
    return message.type == "error" and "/v1/" not in message.location["url"]


def _is_ours(url: str, server_url: str) -> bool:
    return url.startswith((f"{server_url}/", "data:", "blob:"))


def _width(page: Page) -> int:
    return page.evaluate("document.documentElement.scrollWidth")
