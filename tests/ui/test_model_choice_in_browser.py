"""The choice of a model, where a task has several."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from serve.schemas import Models
from tests.ui.conftest import FakeApi, loaded_models, on_every_screen
from tests.ui.test_lesion_in_browser import add, tab, verdict

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated"),  # by Gradio
]

PURPOSE = "for slow computers: a fifth of the time of the large one, at a lower sensitivity"
SMALL = {"name": "lesion-small", "version": "2", "default": False, "description": PURPOSE}


def choice(page: Page) -> Locator:
    return tab(page).get_by_label("Model", exact=True)


def serve_two(page: Page, api: FakeApi) -> None:
    lesion, progress = loaded_models().models
    api.models = Models(models=[lesion, lesion.model_copy(update=SMALL), progress])
    page.reload()
    expect(choice(page)).to_be_visible()


def test_one_model_is_no_choice(page: Page, api: FakeApi):
    add(page)
    expect(verdict(page)).to_be_visible()

    expect(choice(page)).to_be_hidden()
    assert "model" not in api.query


@on_every_screen
def test_another_model_classifies_the_photo_and_is_kept_for_the_visit(page: Page, api: FakeApi):
    serve_two(page, api)
    options = choice(page).locator("option")
    expect(options).to_have_text(["lesion-reference 1", "lesion-small 2"])
    purposes = tab(page).locator(".model-choice li")
    expect(purposes).to_have_text([f"lesion-small 2: {PURPOSE}"])
    expect(choice(page)).to_have_accessible_description(f"lesion-small 2: {PURPOSE}")
    assert purposes.first.evaluate("line => line.scrollWidth <= line.clientWidth"), "the text is cut"
    add(page)
    expect(verdict(page)).to_be_visible()
    assert "model" not in api.query, "the server may choose, as for a canary"

    choice(page).select_option(index=1)
    expect(tab(page).locator(".earlier li")).to_have_count(1)
    expect(verdict(page)).to_be_focused()
    assert api.query["model"] == "lesion-small@2"

    page.evaluate(
        "window.addEventListener('beforeunload', (event) => event.stopImmediatePropagation(), true)"
    )
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    expect(choice(page)).to_have_value("lesion-small@2")
    page.get_by_role("tab", name="Progress").click()
    expect(page.locator("#panel-progress .photo-input")).to_be_visible()
    expect(page.locator("#panel-progress").get_by_label("Model", exact=True)).to_be_hidden()


def test_a_model_that_is_no_longer_served_is_not_asked_for(page: Page, api: FakeApi):
    page.evaluate("sessionStorage.setItem('skinserve.model.lesion', 'gone@9')")
    serve_two(page, api)

    add(page)

    expect(verdict(page)).to_be_visible()
    assert "model" not in api.query


def test_the_series_has_a_choice_of_its_own(page: Page, api: FakeApi):
    _, progress = loaded_models().models
    api.models = Models(models=[progress, progress.model_copy(update={"version": "0", "default": False})])
    page.reload()
    page.get_by_role("tab", name="Progress").click()
    panel = page.locator("#panel-progress")

    panel.get_by_label("Model", exact=True).select_option("progress-reference@0")
    panel.locator("[data-example]").first.click()
    page.get_by_role("button", name="Compare in this order").click()

    expect(panel.locator(".answer .verdict h3")).to_have_text(re.compile("."))
    assert api.query == {"model": "progress-reference@0"}
