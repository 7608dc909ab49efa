"""Feedback on an answer of the history: what a doctor found is often known weeks later."""

from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.ui.conftest import FakeApi, on_every_screen, progress_answer
from tests.ui.test_feedback_in_browser import ANSWER, agree, form, send
from tests.ui.test_history_in_browser import history, keep, keep_lesion, open_history
from tests.ui.test_lesion_in_browser import file_of, jpeg

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated"),  # by Gradio
]

FOUND = {"correct": "no", "diagnosis": "Melanoma", "confirmed_by": "histopathology", "consent": "true"}
FORGET_REQUESTS = """
async () => {
    const opening = indexedDB.open("skinserve");
    await new Promise((resolve) => { opening.onsuccess = resolve; });
    const store = opening.result.transaction("answers", "readwrite").objectStore("answers");
    const reading = store.getAll();
    await new Promise((resolve) => { reading.onsuccess = resolve; });
    for (const entry of reading.result) {
        delete entry.requestId;
        await new Promise((resolve) => { store.put(entry).onsuccess = resolve; });
    }
    opening.result.close();
}
"""


def accept_feedback(page: Page, api: FakeApi) -> None:
    api.models = api.models.model_copy(update={"feedback": True})
    page.reload()


def open_entry(page: Page, label: str) -> Locator:
    groups = open_history(page)
    groups.filter(has_text=label).locator("[data-action=open]").click()
    return history(page).locator("[data-view=entry]")


def send_finding(page: Page) -> None:
    form(page).locator("summary").click()
    form(page).get_by_label("No", exact=True).check()
    form(page).get_by_label("What did a doctor find?").select_option(label="Melanoma")
    form(page).get_by_label("Tissue was examined in a laboratory").check()
    agree(page)
    send(page)
    expect(form(page).locator("code")).to_be_visible()


@on_every_screen
def test_what_a_doctor_found_is_sent_weeks_later_for_the_right_answer(page: Page, api: FakeApi):
    accept_feedback(page, api)
    keep_lesion(page, api, "Left arm", 0.12)

    def answer_another_request(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, headers=answer.headers | {"x-request-id": "case-8"})

    page.route("**/v1/lesion*", answer_another_request)
    keep_lesion(page, api, "Right arm", 0.12)
    page.reload()

    open_entry(page, "Left arm")
    expect(form(page).locator("summary")).to_have_text("What did a doctor find?")
    assert api.feedback == {}
    send_finding(page)
    assert api.feedback == ANSWER | FOUND and api.photos == []
    form(page).get_by_role("button", name="Delete the feedback").click()
    expect(form(page).get_by_role("status")).to_have_text("The feedback is deleted.")

    page.get_by_role("button", name="Back to the history").click()
    open_entry(page, "Right arm")
    send_finding(page)
    assert api.feedback["request_id"] == "case-8"


def test_the_photo_of_the_history_is_sent_with_a_consent_of_its_own(page: Page, api: FakeApi):
    accept_feedback(page, api)
    keep_lesion(page, api, "Left arm", 0.12)
    open_entry(page, "Left arm")
    form(page).locator("summary").click()
    form(page).get_by_label("Yes", exact=True).check()
    form(page).get_by_label("It may store the photo too").check()
    agree(page)
    send(page)

    expect(form(page)).to_contain_text("Your feedback and the photo are stored.")
    assert api.photos == [jpeg()] and api.names == ["photo-0"]


def test_the_form_of_history_and_that_of_the_tab_do_not_disturb_each_other(page: Page, api: FakeApi):
    accept_feedback(page, api)
    keep_lesion(page, api, "Left arm", 0.12)
    open_entry(page, "Left arm")
    form(page).locator("summary").click()
    form(page).get_by_label("What did a doctor find?").select_option(label="Melanoma")
    page.get_by_role("tab", name="Lesion").click()
    form(page).locator("summary").click()

    expect(form(page).get_by_label("What did a doctor find?")).to_have_value("")
    choices = page.locator(".feedback select").all()
    assert len({choice.get_attribute("id") for choice in choices}) == len(choices) == 2


def test_an_answer_that_an_earlier_version_kept_says_why_it_has_no_form(page: Page, api: FakeApi):
    accept_feedback(page, api)
    keep_lesion(page, api, "Left arm", 0.12)
    page.evaluate(FORGET_REQUESTS)
    page.reload()
    entry = open_entry(page, "Left arm")

    expect(entry.locator(".answer .verdict h3")).to_have_text("Looks benign")
    expect(entry.get_by_text("kept it without its request ID")).to_be_visible()
    expect(entry.locator(".feedback")).to_have_count(0)


@pytest.mark.parametrize("has_request", [True, False])
def test_a_server_without_feedback_has_neither_form_nor_explanation(
    page: Page, api: FakeApi, has_request: bool
):
    keep_lesion(page, api, "Left arm", 0.12)
    if not has_request:
        page.evaluate(FORGET_REQUESTS)
        page.reload()
    with page.expect_response("**/render/lesion*"):
        entry = open_entry(page, "Left arm")

    expect(entry.locator(".answer .verdict h3")).to_be_visible()
    expect(entry.locator(".feedback:visible")).to_have_count(0)
    expect(entry.get_by_text("without its request ID")).to_be_hidden()


def test_an_exported_and_imported_answer_still_takes_feedback(page: Page, api: FakeApi, tmp_path: Path):
    page.add_init_script("Object.defineProperty(window, 'isSecureContext', { value: false })")
    accept_feedback(page, api)
    keep_lesion(page, api, "Left arm", 0.12)
    groups = open_history(page)
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.locator("dialog .primary").click()
    download.value.save_as(tmp_path / "history.skinserve")
    page.get_by_role("button", name="Delete all").click()
    page.locator("dialog .primary").click()
    expect(groups).to_have_count(0)

    history(page).locator("input[type=file]").set_input_files(tmp_path / "history.skinserve")
    open_entry(page, "Left arm")
    send_finding(page)

    assert api.feedback == ANSWER | FOUND


def test_a_kept_series_takes_what_a_doctor_found_in_words(page: Page, api: FakeApi):
    accept_feedback(page, api)
    api.progress = progress_answer(2)
    page.get_by_role("tab", name="Progress").click()
    page.locator("#panel-progress .drop input").set_input_files(
        [file_of(jpeg((64, 48 + n)), f"{n}.jpg") for n in range(2)]
    )
    page.get_by_role("button", name="Compare in this order").click()
    keep(page, "My face", "progress")
    open_entry(page, "My face")
    form(page).locator("summary").click()
    form(page).get_by_label("Yes", exact=True).check()
    form(page).get_by_role("textbox").fill("acne")
    agree(page)
    send(page)

    expect(form(page).locator("code")).to_be_visible()
    assert api.feedback["request_id"] == ANSWER["request_id"] and api.feedback["text"] == "acne"
    assert api.photos == []


def test_an_answer_that_the_page_cannot_render_anew_still_takes_feedback(page: Page, api: FakeApi):
    accept_feedback(page, api)
    keep_lesion(page, api, "Left arm", 0.12)
    page.reload()
    page.route("**/render/**", lambda route: route.abort())
    entry = open_entry(page, "Left arm")
    expect(entry.locator(".answer .verdict h3")).to_have_text("Looks benign")
    send_finding(page)

    assert api.feedback == ANSWER | FOUND
