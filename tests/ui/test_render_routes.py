import re
from collections.abc import AsyncIterator

import httpx
import pytest

import ui.site
from serve.schemas import ModelName
from tests.ui.conftest import loaded_models
from ui.config import UiConfig
from ui.render_routes import MAX_BODY_BYTES

pytestmark = pytest.mark.usefixtures("small_examples")


@pytest.fixture
async def browser(client) -> AsyncIterator[httpx.AsyncClient]:
    site = ui.site.build_site(UiConfig(), client)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(site), base_url="http://page") as browser:
        yield browser


async def post(browser: httpx.AsyncClient, name: str, body: str) -> httpx.Response:
    return await browser.post(f"/render/{name}", content=body, headers={"content-type": "application/json"})


async def test_an_answer_of_the_api_becomes_html(browser, make_lesion_answer, make_progress_answer):
    lesion = await post(browser, "lesion", make_lesion_answer().model_dump_json())
    series = await post(browser, "progress", make_progress_answer(3).model_dump_json())
    models = await post(browser, "models", loaded_models().model_dump_json())

    assert "Looks benign" in lesion.text and "Improved" in series.text and "lesion-reference" in models.text
    for answer in (lesion, series, models):
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
        assert answer.headers["cache-control"] == "no-store"


async def test_the_abcde_rule_and_societies_are_links_to_other_pages(
    browser, make_lesion_answer, make_not_usable_answer
):
    for answer in (make_lesion_answer(malignant=0.8), make_not_usable_answer("not_skin")):
        html = (await post(browser, "lesion", answer.model_dump_json())).text
        links = re.findall(r"<a [^>]*>", html)

        assert all('target="_blank" rel="noopener noreferrer"' in link for link in links)
        for address in (
            "https://www.aad.org/public/diseases/skin-cancer/find/at-risk/abcdes",
            "https://www.skincancer.org/early-detection/self-exams/",
            "https://www.ilds.org",
        ):
            assert sum(f'href="{address}"' in link for link in links) == 1


async def test_errors_of_the_network_are_requested_once(browser, fake_api, make_lesion_answer):
    for _ in range(2):
        answer = await post(browser, "lesion", make_lesion_answer().model_dump_json())
        assert "Of 100 malignant lesions in the validation photos, 13 were called benign" in answer.text

    assert fake_api.num_models_requests == 1


async def test_metrics_at_other_thresholds_are_not_shown(browser, make_lesion_answer):
    answer = await post(browser, "lesion", make_lesion_answer(benign_threshold=0.2).model_dump_json())

    assert "was not measured for this network" in answer.text


async def test_an_answer_without_metrics_is_shown(browser, fake_api, make_lesion_answer):
    fake_api.models_status = 500

    answer = await post(browser, "lesion", make_lesion_answer().model_dump_json())

    assert "Looks benign" in answer.text and "was not measured for this network" in answer.text


async def test_a_network_of_another_task_with_the_same_name_has_no_metrics_of_a_series(
    browser, make_progress_answer
):
    lesion, progress = loaded_models().models
    answer = make_progress_answer(3)
    for name in (lesion.name, progress.name):
        body = answer.model_copy(update={"model": ModelName(name=name, version="1")}).model_dump_json()
        found = await post(browser, "progress", body)
        assert found.status_code == 200 and "Improved" in found.text


async def test_a_photo_that_is_not_usable_needs_no_metrics(browser, fake_api, make_not_usable_answer):
    answer = await post(browser, "lesion", make_not_usable_answer().model_dump_json())

    assert "This photo is too small" in answer.text and fake_api.num_models_requests == 0


@pytest.mark.parametrize("name", ["lesion", "progress", "models"])
@pytest.mark.parametrize("body", ["", "{}", "[1]", '{"verdict": "<script>"}', "no json"])
async def test_another_body_is_rejected_without_repeating_it(browser, name, body):
    answer = await post(browser, name, body)

    assert answer.status_code == 422 and answer.json()["error"]["code"] == "invalid_request"
    assert "<script>" not in answer.text


async def test_html_in_an_answer_is_text(browser, make_lesion_answer):
    body = make_lesion_answer().model_dump_json().replace("Nevus", "<img src=x onerror=alert(1)>")

    assert "<img src=x" not in (await post(browser, "lesion", body)).text


async def test_a_body_over_the_limit_is_rejected(browser):
    answer = await post(browser, "lesion", " " * (MAX_BODY_BYTES + 1))

    assert answer.status_code == 413 and answer.json()["error"]["code"] == "too_large"


async def test_a_page_of_another_origin_cannot_use_the_routes(browser, make_lesion_answer):
    body = make_lesion_answer().model_dump_json()
    statuses = {}
    for site in ("cross-site", "same-site", "same-origin", "none"):
        answer = await browser.post("/render/lesion", content=body, headers={"sec-fetch-site": site})
        statuses[site] = answer.status_code

    assert statuses == {"cross-site": 403, "same-site": 403, "same-origin": 200, "none": 200}
