"""Parse and check the form of ``POST /v1/feedback``."""

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import ValidationError

from models.images import PhotoError
from serve.feedback.schemas import Feedback, FeedbackRules
from serve.runtime.errors import ApiError
from serve.runtime.multipart import Form

CONSENT, PHOTO_CONSENT, PHOTO = "consent", "photo_consent", "photo"
TEXT_FIELDS = (*Feedback.model_fields, CONSENT, PHOTO_CONSENT)
_FINDINGS = ("diagnosis", "group", "text")


class SentFeedback(NamedTuple):
    """A valid feedback with its photo, or the error of a photo that is too large."""

    feedback: Feedback
    photo: bytes | PhotoError | None


def parse_form(form: Form, rules: Mapping[str, FeedbackRules]) -> SentFeedback:
    """Check consent and fields; empty fields count as missing.

    Args:
        form: its fields are ``TEXT_FIELDS``, each sent once.
        rules: by task.

    Raises:
        ApiError: ``invalid_request``.
    """
    fields = {name: text for name, (text,) in form.fields.items() if text.strip()}
    photo = form.files[0] if form.files else None
    _check_consent(fields.pop(CONSENT, ""), fields.pop(PHOTO_CONSENT, ""), photo)
    try:
        feedback = Feedback.model_validate({name: text.strip(" ") for name, text in fields.items()})
    except ValidationError as error:
        raise _invalid(_sentence(error)) from error
    if feedback.task not in rules:
        raise _wrong("task", feedback.task, " or ".join(rules))
    _check_by_task(feedback, rules[feedback.task], photo)
    return SentFeedback(feedback, photo)


def _check_consent(consent: str, photo_consent: str, photo: bytes | PhotoError | None) -> None:
    if consent != "true":
        raise _invalid(
            "the feedback has no consent=true and was not stored; send it after the person has agreed"
        )
    if photo is not None and photo_consent != "true":
        raise _invalid(
            "the feedback has a photo without photo_consent=true and was not stored; send that after the "
            "person has agreed to it, or leave the photo out"
        )


def _check_by_task(feedback: Feedback, rules: FeedbackRules, photo: bytes | PhotoError | None) -> None:
    task = feedback.task
    if feedback.verdict not in rules.verdicts:
        raise _wrong("verdict", feedback.verdict, " or ".join(rules.verdicts))
    found = [name for name in _FINDINGS if getattr(feedback, name) is not None]
    if len(found) > 1:
        raise _invalid(f"the feedback has {' and '.join(found)}; send one of {', '.join(_FINDINGS)}")
    if not rules.labels:
        for name in ("diagnosis", "group", "malignant_probability"):
            if getattr(feedback, name) is not None:
                raise _invalid(f"answers of the task {task} have no {name}; leave it out")
    if feedback.diagnosis is not None and feedback.diagnosis not in rules.labels:
        raise _wrong(
            "diagnosis", feedback.diagnosis, f"one of {', '.join(rules.labels)}; send others as text"
        )
    if photo is not None and not rules.takes_photo:
        raise _invalid(f"feedback on the task {task} takes no photo; leave it out")


def _sentence(error: ValidationError) -> str:
    """Return a sentence that names at most three invalid fields."""
    found: list[str] = []
    for one in error.errors()[:3]:
        name = ".".join(map(str, one["loc"]))
        if one["type"] == "missing":
            found.append(f"the form has no {name!r}")
            continue
        needed = one["msg"].removeprefix("Value error, ")
        for start in ("Input should ", "String should "):
            needed = needed.replace(start, "must ")
        found.append(f"field {name} is {str(one['input'])[:40]!r}: {needed}")
    return "; ".join(found)


def _wrong(name: str, value: str, needed: str) -> ApiError:
    return _invalid(f"field {name} is {value[:40]!r}: must be {needed}")


def _invalid(message: str) -> ApiError:
    return ApiError("invalid_request", message)
