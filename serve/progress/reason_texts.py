"""What a series lacks, and what to do, for each reason of an answer, for translation.

No Ray and no torch: ``ui/`` imports this too.
"""

import re

from babel.numbers import format_decimal

from serve.progress.schemas import ProgressAnswer
from serve.runtime.languages import DEFAULT_LANGUAGE, N_, NN_, translations
from serve.schemas import Reason, ReasonCode

_OF_ONE_PHOTO: dict[ReasonCode, str] = {
    "too_small": N_("Photo %(number)s is too small."),
    "too_dark": N_("Photo %(number)s is too dark."),
    "overexposed": N_("Photo %(number)s is too bright."),
    "blurred": N_("Photo %(number)s is blurred."),
}
_FEW_FACES = NN_("Only %(n)s photo shows a face.", "Only %(n)s photos show a face.")
_DIFFERENT_PEOPLE = NN_(
    "This photo seems to show another person: %(numbers)s.",
    "These photos seem to show another person: %(numbers)s.",
)
_TIMES_MISSING = NN_(
    "This photo records no time: %(numbers)s. The first photo counts as the oldest. If it is not, the "
    "answer can be reversed.",
    "These photos record no time: %(numbers)s. The first photo counts as the oldest. If it is not, the "
    "answer can be reversed.",
)
_LIGHT_DIFFERS = N_(
    "The face in photo %(bright)s is %(times)s times as bright as that in photo %(dark)s. Different light "
    "can look like a change of the skin."
)
_NUMBERS_OF_LIGHT = re.compile(r"(\d+)\D+(\d+(?:[.,\u066b]\d+)?)\D+(\d+)")
"""Bright photo, ratio and dark photo: translations keep their order."""
_NO_CLEAR_CHANGE = N_("The skin neither looks clearly better nor clearly worse in the later photos.")
_ADVICE: dict[ReasonCode, str] = {
    "few_faces": N_("Send at least two photos that show the whole face from the front."),
    "different_people": N_("Send photos of one person only."),
    "no_clear_change": N_("Compare again after about a month."),
    "light_differs": N_("Compare photos in the same light."),
    "times_missing": N_("Send the time of each photo."),
}


def translate_reasons(answer: ProgressAnswer, language: str) -> ProgressAnswer:
    """Return an answer with messages in a language; English ones are more precise and stay as they are."""
    if language == DEFAULT_LANGUAGE or not answer.reasons:
        return answer
    gettext = translations(language).gettext
    messages = [
        (
            reason_text(reason, answer, language),
            gettext(_ADVICE[reason.code]) if reason.code in _ADVICE else "",
        )
        for reason in answer.reasons
    ]
    reasons = [
        Reason(code=reason.code, message=" ".join(filter(None, texts)))
        for reason, texts in zip(answer.reasons, messages, strict=True)
    ]
    return answer.model_copy(update={"reasons": reasons})


def reason_text(reason: Reason, answer: ProgressAnswer, language: str) -> str:
    """Return what a reason says, without advice, from its code and the answer.

    Args:
        reason: of the answer; its message can be in any language.
    """
    t = translations(language)
    if reason.code == "few_faces":
        n = sum(photo.face is not None for photo in answer.photos)
        return t.ngettext(*_FEW_FACES, n) % {"n": n}
    if reason.code == "different_people":
        return _of_photos(
            _DIFFERENT_PEOPLE, [p.index for p in answer.photos if p.same_person is False], language
        )
    if reason.code == "times_missing":
        return _of_photos(_TIMES_MISSING, [p.index for p in answer.photos if p.taken_at is None], language)
    if reason.code == "no_clear_change":
        return t.gettext(_NO_CLEAR_CHANGE)
    light = _NUMBERS_OF_LIGHT.search(reason.message)
    if reason.code == "light_differs" and light:
        times = format_decimal(float(re.sub(r"[,\u066b]", ".", light[2])), locale=language)
        return t.gettext(_LIGHT_DIFFERS) % {"bright": light[1], "times": times, "dark": light[3]}
    number = re.search(r"\d+", reason.message)  # "photo 3: ..."; translations keep the number first
    if reason.code in _OF_ONE_PHOTO and number:
        return t.gettext(_OF_ONE_PHOTO[reason.code]) % {"number": number[0]}
    return reason.message


def _of_photos(text: tuple[str, str], indices: list[int], language: str) -> str:
    """Fill a text with the numbers of photos, from 1 in upload order."""
    numbers = ", ".join(str(index + 1) for index in sorted(indices))
    return translations(language).ngettext(*text, len(indices)) % {"numbers": numbers}
