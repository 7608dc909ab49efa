"""Sentences for the reasons of an answer for a series."""

import re

from serve.progress.schemas import ProgressAnswer
from serve.schemas import Reason, ReasonCode
from ui.rendering import sentence
from ui.translation import DEFAULT_LANGUAGE, N_, translations

_PHOTO = re.compile(r"photo (\d+): ")
_OF_ONE_PHOTO: dict[ReasonCode, str] = {
    "too_small": N_("Photo %(number)s is too small."),
    "too_dark": N_("Photo %(number)s is too dark."),
    "overexposed": N_("Photo %(number)s is too bright."),
    "blurred": N_("Photo %(number)s is blurred."),
}


def series_reason(reason: Reason, answer: ProgressAnswer, language: str = DEFAULT_LANGUAGE) -> str:
    """Return the message of the API, or in other languages a text for its code and what the answer counts."""
    t = translations(language)
    number = _PHOTO.match(reason.message)
    if language != DEFAULT_LANGUAGE:
        if number and reason.code in _OF_ONE_PHOTO:
            return t.gettext(_OF_ONE_PHOTO[reason.code]) % {"number": number[1]}
        if reason.code == "few_faces":
            n = sum(photo.face is not None for photo in answer.photos)
            text = t.ngettext("Only %(n)s photo shows a face.", "Only %(n)s photos show a face.", n)
            return text % {"n": n}
        if reason.code == "different_people":
            others = sorted(photo.index + 1 for photo in answer.photos if photo.same_person is False)
            text = t.ngettext(
                "This photo seems to show another person: %(numbers)s.",
                "These photos seem to show another person: %(numbers)s.",
                len(others),
            )
            return text % {"numbers": ", ".join(map(str, others))}
    return sentence(reason.message)
