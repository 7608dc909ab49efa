import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.feedback.form import SentFeedback, parse_form
from serve.feedback.schemas import MAX_TEXT_CHARS
from serve.lesion.task import LESION_TASK
from serve.progress.task import PROGRESS_TASK
from serve.runtime.errors import ApiError
from serve.runtime.multipart import Form
from tests.serve.feedback_fields import FIELDS, WITH_PHOTO

RULES = {task.name: task.feedback for task in (LESION_TASK, PROGRESS_TASK) if task.feedback}
ON_PROGRESS = {
    **{name: FIELDS[name] for name in ("model_name", "model_version", "request_id", "correct", "consent")},
    "task": "progress",
    "verdict": "worsened",
}
PHOTO = b"a photo"
BIDI_CONTROLS = ("LRE", "LRO", "RLE", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
MARKS = "\u200e\u200f\u061c"
"""Marks of direction."""


def parse(fields: dict[str, str], photo: bytes | None = None) -> SentFeedback:
    form = Form(fields={name: [text] for name, text in fields.items()})
    if photo is not None:
        form.files.append(photo)
    return parse_form(form, RULES)


def test_a_complete_feedback_is_parsed():
    feedback, photo = parse(WITH_PHOTO, PHOTO)

    assert photo == PHOTO
    sent = {name: text for name, text in FIELDS.items() if name != "consent"}
    assert {name: str(value) for name, value in feedback.model_dump(exclude_none=True).items()} == sent


def test_empty_fields_of_a_web_form_are_missing_ones():
    feedback, _ = parse(FIELDS | {"text": "", "group": " ", "photo_consent": ""})

    assert (feedback.text, feedback.group) == (None, None)


def test_a_finding_without_confirmation_is_not_confirmed():
    feedback, _ = parse({name: text for name, text in FIELDS.items() if name != "confirmed_by"})

    assert feedback.confirmed_by == "not_confirmed"


def test_feedback_on_progress_has_text():
    feedback, _ = parse(ON_PROGRESS | {"text": "the rash is gone"})

    assert (feedback.task, feedback.text) == ("progress", "the rash is gone")


@pytest.mark.parametrize("consent", ["", "false", "yes", "1", "True", "true true"])
def test_consent_is_the_word_true_and_nothing_else(consent: str):
    with pytest.raises(ApiError, match="has no consent=true and was not stored"):
        parse(FIELDS | {"consent": consent})
    with pytest.raises(ApiError, match="a photo without photo_consent=true and was not stored"):
        parse(FIELDS | {"photo_consent": consent}, PHOTO)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"task": "wound"}, "field task is 'wound': must be lesion or progress"),
        ({"task": ""}, "the form has no 'task'"),
        ({"model_name": "=HYPERLINK()"}, r"field model_name is '=HYPERLINK\(\)': must match"),
        ({"model_version": "6\n7"}, "field model_version is"),
        ({"model_name": "a" * 101}, "must have at most 100 characters"),
        ({"verdict": "improved"}, "field verdict is 'improved': must be benign or malignant or inconclusive"),
        ({"malignant_probability": "1.1"}, "must be less than or equal to 1"),
        ({"malignant_probability": "-0.1"}, "must be greater than or equal to 0"),
        ({"malignant_probability": "nan"}, "must be a finite number"),
        ({"malignant_probability": "high"}, "must be a valid number"),
        ({"request_id": "../etc"}, "field request_id is"),
        ({"request_id": "a" * 65}, "field request_id is"),
        ({"correct": "maybe"}, "field correct is 'maybe': must be 'yes', 'no' or 'unknown'"),
        ({"diagnosis": "melanoma"}, "must be one of Nevus, "),
        ({"diagnosis": "", "group": "indeterminate"}, "must be 'benign' or 'malignant'"),
        ({"group": "malignant"}, "has diagnosis and group; send one of diagnosis, group, text"),
        ({"text": "a scar"}, "has diagnosis and text; send one of"),
        ({"confirmed_by": "friend"}, "field confirmed_by is 'friend': must be"),
        ({"diagnosis": "", "text": "a\x00b"}, r"without control characters, not U\+0000"),
        ({"diagnosis": "", "text": "a\nb"}, r"not U\+000A"),
        ({"diagnosis": "", "text": "a\u2028b"}, r"not U\+2028"),
        ({"diagnosis": "", "text": "\u202egnp"}, r"not U\+202E"),
        ({"diagnosis": "", "text": "a\N{REPLACEMENT CHARACTER}b"}, "must be text in UTF-8"),
        ({"diagnosis": "", "text": "a" * 201}, "must have at most 200 characters"),
    ],
)
def test_other_values_are_rejected(changed: dict[str, str], message: str):
    with pytest.raises(ApiError, match=message) as raised:
        parse(FIELDS | changed)

    assert raised.value.code == "invalid_request"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"diagnosis": "Nevus"}, "answers of the task progress have no diagnosis"),
        ({"group": "benign"}, "answers of the task progress have no group"),
        ({"malignant_probability": "0.5"}, "answers of the task progress have no malignant_probability"),
        ({"verdict": "benign"}, "must be improved or worsened or no_clear_change or inconclusive"),
    ],
)
def test_feedback_on_progress_has_no_diagnosis(changed: dict[str, str], message: str):
    with pytest.raises(ApiError, match=message):
        parse(ON_PROGRESS | changed)


def test_feedback_on_progress_takes_no_photo():
    with pytest.raises(ApiError, match="the task progress takes no photo"):
        parse(ON_PROGRESS | {"photo_consent": "true"}, PHOTO)


@given(
    st.dictionaries(st.sampled_from([*WITH_PHOTO, "group", "text"]), st.text(max_size=300)),
    st.sampled_from([None, PHOTO]),
)
def test_any_fields_are_parsed_or_rejected_with_a_message(changed: dict[str, str], photo: bytes | None):
    sent = WITH_PHOTO | changed
    try:
        feedback, parsed = parse(sent, photo)
    except ApiError as error:
        assert error.code == "invalid_request" and "\n" not in str(error)
        return

    assert sent["consent"] == "true" and (parsed is None or sent["photo_consent"] == "true")
    assert feedback.verdict in RULES[feedback.task].verdicts
    assert sum(value is not None for value in (feedback.diagnosis, feedback.group, feedback.text)) <= 1
    for text in filter(None, (feedback.text, feedback.model_name, feedback.model_version)):
        assert len(text) <= MAX_TEXT_CHARS
        assert not [character for character in text if unicodedata.category(character) == "Cc"]


@given(st.text(min_size=1, max_size=MAX_TEXT_CHARS))
def test_a_text_is_stored_as_it_was_sent_or_rejected(text: str):
    sent = text.strip(" ") if text.strip() else None
    has_control = sent is not None and any(
        unicodedata.category(one) in ("Cc", "Zl", "Zp") or unicodedata.bidirectional(one) in BIDI_CONTROLS
        for one in sent
    )
    try:
        feedback, _ = parse(FIELDS | {"diagnosis": "", "text": text})
    except ApiError:
        assert has_control or "\N{REPLACEMENT CHARACTER}" in text or set(text) & set(MARKS)
        return

    assert feedback.text == sent and not has_control


@pytest.mark.parametrize("text", ["Leberfleck, gutartig", "तिल", "شامة", "क्\u200dष", "🙂"])
def test_texts_of_all_languages_are_accepted(text: str):
    assert parse(FIELDS | {"diagnosis": "", "text": text}).feedback.text == text
