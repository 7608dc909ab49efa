"""The feedback form: consent, fields, receipt, deletion."""

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.ui.conftest import RECEIPT, REQUEST_ID, FakeApi, not_usable_answer, on_every_screen
from tests.ui.test_lesion_in_browser import add, file_of, jpeg, place, tab, verdict

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated"),  # by Gradio
]

ANSWER = {
    "task": "lesion",
    "model_name": "lesion-reference",
    "model_version": "1",
    "verdict": "benign",
    "malignant_probability": "0.12",
    "request_id": REQUEST_ID,
}


def form(page: Page) -> Locator:
    return page.locator(".feedback:visible")


def open_form(page: Page, api: FakeApi) -> None:
    api.models = api.models.model_copy(update={"feedback": True})
    page.reload()
    add(page)
    expect(verdict(page)).to_be_visible()
    form(page).get_by_text("Was this right?").click()


def agree(page: Page) -> None:
    form(page).get_by_label("The server may store what I entered").check()


def send(page: Page) -> None:
    form(page).get_by_role("button", name="Send").click()


def test_a_server_without_feedback_has_no_form(page: Page, api: FakeApi):
    add(page)
    expect(tab(page).locator(".programs")).to_be_visible()
    expect(tab(page).locator(".feedback")).to_be_hidden()
    page.get_by_role("tab", name="About").click()
    expect(page.get_by_text("How often it is wrong")).to_be_visible()
    expect(page.get_by_text("Delete your feedback")).to_be_hidden()


def test_the_answer_to_a_drawing_has_no_form(page: Page, api: FakeApi):
    api.models = api.models.model_copy(update={"feedback": True})
    page.reload()
    tab(page).locator("[data-example]").first.click()
    expect(tab(page).locator(".programs")).to_be_visible()
    expect(tab(page).locator(".feedback")).to_have_count(0)


@on_every_screen
def test_feedback_without_the_photo_is_sent_only_with_consent(page: Page, api: FakeApi):
    open_form(page, api)
    form(page).get_by_label("No", exact=True).check()
    form(page).get_by_label("What did a doctor find?").select_option(label="Melanoma")
    form(page).get_by_label("Tissue was examined in a laboratory").check()
    for option in form(page).locator(".option").all():
        assert place(option)["height"] >= 44

    send(page)
    assert (
        form(page)
        .get_by_label("The server may store what I entered")
        .evaluate("box => box.matches(':invalid')")
    )
    assert api.feedback == {}

    agree(page)
    send(page)
    receipt = form(page).locator("code")
    expect(receipt).to_have_text(RECEIPT)
    expect(form(page).get_by_role("heading", name="Thank you")).to_be_focused()
    expect(form(page)).to_contain_text("stored, without the photo")
    found = {"correct": "no", "diagnosis": "Melanoma", "confirmed_by": "histopathology", "consent": "true"}
    assert api.feedback == ANSWER | found and api.photos == []

    form(page).get_by_role("button", name="Delete the feedback").click()
    expect(form(page).get_by_role("status")).to_have_text("The feedback is deleted.")
    expect(receipt).to_have_count(0)
    assert api.feedback == {}


def test_the_photo_is_sent_only_with_a_consent_of_its_own(page: Page, api: FakeApi):
    open_form(page, api)
    form(page).get_by_label("Yes", exact=True).check()
    agree(page)
    form(page).get_by_label("It may store the photo too").check()
    send(page)

    expect(form(page)).to_contain_text("Your feedback and the photo are stored.")
    assert api.feedback == ANSWER | {"correct": "yes", "consent": "true", "photo_consent": "true"}
    assert api.photos == [jpeg()] and api.names == ["photo-0"]


def test_another_finding_is_sent_in_words_without_marks_of_direction(page: Page, api: FakeApi):
    open_form(page, api)
    words = form(page).get_by_label("The finding in a few words")
    expect(words).to_be_hidden()
    form(page).get_by_label("I do not know", exact=True).check()
    form(page).get_by_label("What did a doctor find?").select_option(label="Something else")
    words.fill("\u200fوحمة <b>x</b>\u200e")
    agree(page)
    send(page)

    expect(form(page).locator("code")).to_be_visible()
    found = {
        "text": "وحمة <b>x</b>",
        "confirmed_by": "not_confirmed",
        "correct": "unknown",
        "consent": "true",
    }
    assert api.feedback == ANSWER | found


def test_what_was_entered_stays_after_an_error(page: Page, api: FakeApi):
    open_form(page, api)
    form(page).get_by_label("No", exact=True).check()
    form(page).get_by_label("What did a doctor find?").select_option(label="Malignant, diagnosis not known")
    agree(page)
    api.fail(429, "rate_limited", "too much feedback; wait 1 s")
    send(page)

    error = form(page).get_by_role("alert")
    expect(error.get_by_role("heading", name="The limit of requests is reached")).to_be_focused()
    api.error = None
    error.get_by_role("button", name="Try again").click()
    expect(form(page).locator("code")).to_be_visible()
    assert api.feedback["group"] == "malignant" and api.feedback["correct"] == "no"


def test_a_photo_without_a_verdict_has_a_form_without_diagnoses(page: Page, api: FakeApi):
    api.lesion = not_usable_answer("not_skin")
    open_form(page, api)
    options = form(page).get_by_label("What did a doctor find?").locator("option")
    expect(options).to_have_text(
        [
            "Nothing yet, or I do not want to say",
            "Benign, diagnosis not known",
            "Malignant, diagnosis not known",
            "Something else",
        ]
    )
    form(page).get_by_label("No", exact=True).check()
    agree(page)
    send(page)

    expect(form(page).locator("code")).to_be_visible()
    assert api.feedback["verdict"] == "inconclusive" and "malignant_probability" not in api.feedback


def test_feedback_on_a_series_has_words_and_no_photo(page: Page, api: FakeApi):
    api.models = api.models.model_copy(update={"feedback": True})
    page.reload()
    page.get_by_role("tab", name="Progress").click()
    page.locator("#panel-progress .drop input").set_input_files(
        [file_of(jpeg((64, 48 + n)), f"{n}.jpg") for n in range(2)]
    )
    page.get_by_role("button", name="Compare in this order").click()
    form(page).get_by_text("Was this right?").click()
    form(page).get_by_label("Yes", exact=True).check()
    form(page).get_by_label("What did a doctor find?").fill("acne")
    expect(form(page).get_by_label("It may store the photo too")).to_have_count(0)
    agree(page)
    send(page)

    expect(form(page).locator("code")).to_be_visible()
    assert api.feedback == {
        "task": "progress",
        "model_name": "progress-reference",
        "model_version": "1",
        "verdict": "improved",
        "request_id": REQUEST_ID,
        "correct": "yes",
        "text": "acne",
        "confirmed_by": "not_confirmed",
        "consent": "true",
    }


def test_feedback_of_an_earlier_visit_is_deleted_by_its_receipt(page: Page, api: FakeApi):
    api.models = api.models.model_copy(update={"feedback": True})
    api.feedback = {"task": "lesion"}
    page.reload()
    page.get_by_role("tab", name="About").click()
    card = page.locator("[data-feedback-delete]")

    card.get_by_label("Receipt of the feedback").fill("wrong")
    card.get_by_role("button", name="Delete the feedback").click()
    expect(card.get_by_role("alert")).to_contain_text("There is no feedback with this receipt.")
    card.get_by_label("Receipt of the feedback").fill(f" {RECEIPT} ")
    page.keyboard.press("Enter")
    expect(card.get_by_text("The feedback is deleted.")).to_be_visible()
    assert api.feedback == {}
