import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from fastapi import FastAPI
from PIL import Image

import ui.site
from serve.schemas import DISCLAIMER, PHOTO_FORMAT_NAMES
from ui.config import UiConfig
from ui.examples import Example, make_example
from ui.page import build_page
from ui.services import Services

PICKER, CAMERA, LESION_INPUTS, PHOTO, AGAIN, LESION_ANSWER = range(6)
PHOTOS, INPUTS, COMPARE_AGAIN, DATES, PROGRESS_ANSWER = range(5)


def example_of(num_photos: int) -> Example:
    return make_example(f"{num_photos} photos", [Image.new("RGB", (64, 48), "tan")] * num_photos)


@pytest.fixture
def page(services: Services, monkeypatch: pytest.MonkeyPatch) -> gr.Blocks:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(services.uploads.path))
    return build_page(services, lesion_examples=[example_of(1)], progress_examples=[example_of(3)])


@pytest.fixture
def site(services: Services, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    picture = Image.new("RGB", (64, 48), "tan")
    monkeypatch.setattr(ui.site, "draw_lesion", lambda seed: picture)
    monkeypatch.setattr(ui.site, "draw_series", lambda improving, seed: [picture] * 2)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(services.uploads.path))
    return ui.site.build_site(UiConfig(), services.uploads, services.api)


@pytest.fixture
def upload(services: Services) -> Callable[[str], dict[str, Any]]:
    """Store a photo as Gradio stores one from the browser."""

    def put(name: str) -> dict[str, Any]:
        path = services.uploads.path / name / "photo.jpg"
        path.parent.mkdir()
        path.write_bytes(example_of(1).photos[0])
        return {"path": str(path), "meta": {"_type": "gradio.FileData"}}

    return put


def handler(page: gr.Blocks, name: str) -> Callable[..., AsyncGenerator[Any]]:
    found = next(function.fn for function in page.fns.values() if function.name == name)
    assert found is not None
    return found


async def all_of(updates: AsyncIterator[Any]) -> list[Any]:
    return [update async for update in updates]


async def test_a_photo_is_answered_shown_and_deleted(page, upload, fake_api, services):
    photo = upload("one")

    working, answered = await all_of(handler(page, "on_photo")([photo]))

    assert "Classifying the photo" in working[LESION_ANSWER]
    assert "Looks benign" in answered[LESION_ANSWER] and DISCLAIMER in answered[LESION_ANSWER]
    assert "data:image/jpeg" in answered[PHOTO]["value"] and answered[PHOTO]["visible"]
    assert answered[PICKER] == [] and not answered[LESION_INPUTS]["visible"]
    assert fake_api.photos == [example_of(1).photos[0]]
    assert list(services.uploads.path.iterdir()) == []


async def test_a_photo_of_the_camera_is_answered_and_deleted(page, upload, services):
    *_, answered = await all_of(handler(page, "on_camera")(upload("one")))

    assert "Looks benign" in answered[LESION_ANSWER] and answered[CAMERA] is None
    assert list(services.uploads.path.iterdir()) == []


async def test_a_benign_answer_says_how_often_the_network_is_wrong_and_asks_for_its_metrics_once(
    page, upload, fake_api
):
    *_, first = await all_of(handler(page, "on_photo")([upload("one")]))
    *_, second = await all_of(handler(page, "on_photo")([upload("two")]))

    for answered in (first, second):
        assert (
            "Of 100 malignant lesions in the validation photos, 13 were called benign"
            in answered[LESION_ANSWER]
        )
    assert fake_api.num_models_requests == 1


async def test_metrics_at_other_thresholds_are_not_shown(page, upload, fake_api, make_lesion_answer):
    fake_api.lesion = make_lesion_answer(benign_threshold=0.2)

    *_, answered = await all_of(handler(page, "on_photo")([upload("one")]))

    assert "was not measured for this network" in answered[LESION_ANSWER]


async def test_an_answer_without_metrics_is_shown(page, upload, fake_api):
    fake_api.models_status = 500

    *_, answered = await all_of(handler(page, "on_photo")([upload("one")]))

    assert "Looks benign" in answered[LESION_ANSWER]
    assert "was not measured for this network" in answered[LESION_ANSWER]


async def test_a_photo_that_is_not_usable_is_shown_with_its_reason(
    page, upload, fake_api, make_not_usable_answer
):
    fake_api.lesion = make_not_usable_answer()

    *_, answered = await all_of(handler(page, "on_photo")([upload("one")]))

    assert "This photo is too small" in answered[LESION_ANSWER] and answered[AGAIN]["visible"]
    assert "data:image/jpeg" in answered[PHOTO]["value"]


async def test_a_photo_that_the_api_rejects_is_deleted_and_the_picker_comes_back(
    page, upload, fake_api, services
):
    fake_api.fail(400, "unreadable_image", "the photo is empty (0 bytes); send the file itself")

    *_, rejected = await all_of(handler(page, "on_photo")([upload("one")]))

    assert "The photo is empty (0 bytes); send the file itself." in rejected[LESION_ANSWER]
    assert rejected[PICKER] == [] and rejected[LESION_INPUTS]["visible"]
    assert list(services.uploads.path.iterdir()) == []


@pytest.mark.parametrize("name", ["on_photo", "on_compare"])
async def test_the_photos_of_a_browser_that_leaves_are_deleted(page, upload, services, name):
    photos = [upload("one"), upload("two")]
    if name == "on_photo":
        services.uploads.delete([photos.pop()])
    updates = handler(page, name)(photos)

    await anext(updates)
    await updates.aclose()

    assert list(services.uploads.path.iterdir()) == []


@pytest.mark.parametrize("name", ["on_photo", "on_camera"])
async def test_no_photo_changes_nothing(page, name):
    assert await all_of(handler(page, name)(None)) == []


async def test_an_example_is_one_click_away(page, fake_api):
    event = gr.EventData(None, {"index": 0})

    *_, answered = await all_of(handler(page, "on_example")(event))

    assert "Looks benign" in answered[LESION_ANSWER]
    assert fake_api.photos == [example_of(1).photos[0]]


@pytest.mark.parametrize("data", [{"index": 9}, {"index": -1}, {"index": "0"}, {}, None])
async def test_an_unknown_example_changes_nothing(page, data):
    assert await all_of(handler(page, "on_example")(gr.EventData(None, data))) == []


async def test_a_series_is_compared_shown_and_deleted(page, upload, fake_api, services, make_progress_answer):
    uploads = [upload("one"), upload("two")]
    fake_api.progress = make_progress_answer(2).model_copy(update={"order": "exif"})

    working, answered = await all_of(handler(page, "on_compare")(uploads))

    assert "Comparing the photos" in working[PROGRESS_ANSWER]
    assert "Improved" in answered[PROGRESS_ANSWER]
    assert answered[PHOTOS] == [] and not answered[INPUTS]["visible"]
    assert len(fake_api.photos) == 2
    assert list(services.uploads.path.iterdir()) == []


async def test_missing_dates_are_requested_and_sent_with_the_recorded_ones(
    page, upload, fake_api, services, make_mixed_times_answer
):
    uploads = [upload("one"), upload("two")]
    fake_api.progress = make_mixed_times_answer(2)

    *_, update = await all_of(handler(page, "on_compare")(uploads))
    assert "When were these photos taken?" in update[DATES]["value"] and update[DATES]["visible"]
    assert update[PROGRESS_ANSWER] == "" and not update[INPUTS]["visible"]
    assert len(list(services.uploads.path.iterdir())) == 2, "the photos are needed for the next comparison"

    times = ["2026-03-01T12:00:00", "2026-03-09T18:30:00"]
    *_, answered = await all_of(handler(page, "on_dates")(uploads, gr.EventData(None, {"times": times})))
    assert fake_api.taken_at == times
    assert "Improved" in answered[PROGRESS_ANSWER] and not answered[DATES]["visible"]
    assert list(services.uploads.path.iterdir()) == []


async def test_dates_are_requested_if_no_photo_records_one(page, upload, fake_api):
    *_, update = await all_of(handler(page, "on_compare")([upload("one"), upload("two")]))

    assert "2 of 2 photos record no date" in update[DATES]["value"] and update[DATES]["visible"]
    assert update[DATES]["value"].count('type="date"') == 2 and update[PROGRESS_ANSWER] == ""


async def test_the_order_of_the_uploads_can_be_confirmed_instead(
    page, upload, fake_api, services, make_mixed_times_answer
):
    fake_api.progress = make_mixed_times_answer(2)
    uploads = [upload("one"), upload("two")]

    *_, answered = await all_of(handler(page, "on_dates")(uploads, gr.EventData(None, {"times": []})))

    assert fake_api.taken_at == []
    assert "in the order in which you added them" in answered[PROGRESS_ANSWER]
    assert list(services.uploads.path.iterdir()) == []


async def test_an_error_after_the_form_for_dates_keeps_the_photos_and_the_form(
    page, upload, fake_api, services
):
    fake_api.fail(422, "no_face", "no face was found; send others")
    uploads = [upload("one"), upload("two")]

    *_, failed = await all_of(handler(page, "on_dates")(uploads, gr.EventData(None, {"times": []})))

    assert "No face was found" in failed[PROGRESS_ANSWER] and failed[DATES] == gr.skip()
    assert len(list(services.uploads.path.iterdir())) == 2


@pytest.mark.parametrize(
    ("num_photos", "words"), [(0, "no photo yet"), (1, "one photo only"), (31, "31 photos; at most 30")]
)
async def test_a_wrong_number_of_photos_is_rejected_without_a_request(page, fake_api, num_photos, words):
    (only,) = await all_of(handler(page, "on_compare")([{"path": "x"}] * num_photos))

    assert words in only[PROGRESS_ANSWER]
    assert fake_api.photos == []


async def test_a_rejected_series_stays_so_that_the_wrong_photo_can_be_removed(
    page, upload, fake_api, services
):
    fake_api.fail(422, "no_face", "no face was found in any of the 2 photos; send others")

    *_, rejected = await all_of(handler(page, "on_compare")([upload("one"), upload("two")]))

    assert "No face was found" in rejected[PROGRESS_ANSWER]
    assert len(list(services.uploads.path.iterdir())) == 2


async def test_a_missing_photo_is_named_by_its_number(page, upload):
    missing = {"path": upload("two")["path"] + "-gone"}

    *_, rejected = await all_of(handler(page, "on_compare")([upload("one"), missing]))

    assert "Photo 2 is no longer on the server" in rejected[PROGRESS_ANSWER]


async def test_the_page_shows_the_configured_limits(site):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(site), base_url="http://page") as browser:
        config = re.sub(r"(\\n|\s)+", " ", (await browser.get("/config")).text)

    assert config.count("at the latest after 1 minute.") == 1
    assert config.count("deleted at the latest 1 minute after its upload") == 1
    assert config.replace(": ", ":").count('"max_mb":1,') == 2
    assert config.count(PHOTO_FORMAT_NAMES) == 2
    assert "20 MB" not in config and "ten minutes" not in config


async def test_a_restarted_process_is_known_by_another_answer(site, services):
    async def answer_of(site: FastAPI) -> str:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(site), base_url="http://page") as browser:
            return (await browser.get("/alive")).text

    restarted = ui.site.build_site(UiConfig(), services.uploads, services.api)

    assert len(await answer_of(site)) == 16
    assert await answer_of(site) == await answer_of(site) != await answer_of(restarted)


def test_no_handler_is_an_endpoint_for_programs(page):
    visibility = {function.name: function.api_visibility for function in page.fns.values()}

    assert set(visibility.values()) == {"private"}, visibility


async def test_the_document_names_no_other_host_and_has_no_tags_of_gradio(site):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(site), base_url="http://page") as browser:
        document = (await browser.get("/", headers={"accept-encoding": "br, gzip"})).text
        style = (await browser.get("/theme.css")).text
    tags = re.sub(r"<script.*?</script>", "", document, flags=re.DOTALL)

    assert set(re.findall(r"https?://[\w.]+", tags + style)) == {"http://www.w3.org"}  # names SVG, no address
    assert "og:" not in tags and "manifest" not in tags


async def test_the_page_hides_the_footer_of_gradio_and_saves_no_runs(site):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(site), base_url="http://page") as browser:
        config = (await browser.get("/config")).json()

    assert config["footer_links"] == []
    assert config["analytics_enabled"] is False
    assert not config.get("run_history", False)


async def test_an_upload_lands_in_the_folder_of_its_own(site, services):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(site), base_url="http://page") as browser:
        answer = await browser.post("/gradio_api/upload", files={"files": ("a.jpg", example_of(1).photos[0])})

    (path,) = json.loads(answer.text)
    assert Path(path).is_relative_to(services.uploads.path)
    assert services.uploads.read({"path": path}) == example_of(1).photos[0]


async def test_the_folder_goes_when_the_page_ends(site, services):
    async with site.router.lifespan_context(site):
        assert services.uploads.path.exists()

    assert not services.uploads.path.exists()


async def test_the_icon_and_the_tags_of_the_head_are_ours(site):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(site), base_url="http://page") as browser:
        icon = await browser.get("/favicon.ico")
        document = (await browser.get("/")).text

    head = document[: document.index("</head>")]
    assert icon.headers["content-type"].startswith("image/svg+xml") and "<circle" in icon.text
    assert '<link rel="icon" type="image/svg+xml" href="favicon.ico">' in head
    assert 'content="noindex"' in head and 'content="no-referrer"' in head
