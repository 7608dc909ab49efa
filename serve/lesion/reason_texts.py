"""What a photo of a lesion lacks, and what to do, for each reason, for translation.

No Ray and no torch: ``ui/`` imports this too.
"""

from typing import NamedTuple

from serve.lesion.schemas import LesionAnswer
from serve.runtime.languages import DEFAULT_LANGUAGE, FULL_STOPS, N_, translations
from serve.schemas import Reason, ReasonCode


class ReasonText(NamedTuple):
    """Title, explanation and steps for one reason."""

    title: str
    explanation: str
    steps: tuple[str, ...]


class Caution(NamedTuple):
    """A reason that weakens a verdict, with what to do."""

    title: str
    text: str


NOT_USABLE: dict[ReasonCode, ReasonText] = {
    "too_small": ReasonText(
        N_("This photo is too small"),
        N_("It has too few pixels to show a lesion."),
        (
            N_("Send the original photo, not a thumbnail or a screenshot."),
            N_("Or take a new one with the camera of a phone, from about 10 cm."),
        ),
    ),
    "too_dark": ReasonText(
        N_("This photo is too dark"),
        N_("Almost nothing can be seen in it."),
        (N_("Take it again in daylight, near a window."), N_("Make sure that nothing covers the lens.")),
    ),
    "overexposed": ReasonText(
        N_("This photo is too bright"),
        N_("Most of it is white, so the colours of the skin are lost."),
        (
            N_("Take it again without flash and out of direct sun."),
            N_("Tap on the lesion on the screen of the phone: the camera then sets the light for it."),
        ),
    ),
    "not_skin": ReasonText(
        N_("This does not look like a skin lesion"),
        N_("The network answers for close photos of skin only."),
        (
            N_("Take a sharp photo from 10 cm, with the lesion in the middle and only skin around it."),
            N_("Use daylight, and no filter or black and white."),
        ),
    ),
    "no_lesion": ReasonText(
        N_("No lesion was found"),
        N_("Nothing in this photo looks like a lesion."),
        (
            N_("Take the photo from 10 cm, with the lesion in the middle."),
            N_("Tap on the lesion on the screen of the phone, so that it is in focus."),
        ),
    ),
    "lesion_too_small": ReasonText(
        N_("No lesion large enough was found"),
        N_("What looks most like a lesion is too small in this photo to be classified."),
        (
            N_("If this is not a close photo of skin, choose another photo."),
            N_("Otherwise move closer, to about 10 cm, until the lesion fills a quarter of the picture."),
            N_("Do not use the digital zoom: it adds no detail."),
            N_("Send the original photo, not a reduced copy."),
        ),
    ),
    "unfamiliar": ReasonText(
        N_("The network does not know photos like this"),
        N_("A verdict on it would be a guess, so there is none."),
        (
            N_("Take a sharp photo of one lesion from 10 cm, in daylight."),
            N_("Use no filter, no flash and no text or drawing on the picture."),
            N_("Keep plasters, jewellery and hair out of it."),
        ),
    ),
}
"""For photos that are not usable."""

CAUTIONS: dict[ReasonCode, Caution] = {
    "blurred": Caution(
        N_("The lesion is blurred, so this answer is less certain."),
        N_("Take the photo again, and tap on the lesion on the screen of the phone to focus on it."),
    ),
    "several_lesions": Caution(
        N_("There are several lesions in this photo."),
        N_("Only the one in the frame was classified. Take a photo of each one by itself."),
    ),
}
"""For reasons beside a verdict."""
NEAR_THRESHOLD = N_(
    "The network cannot tell whether this lesion is benign or malignant. Show it to a doctor. Another sharp "
    "photo from 10 cm in daylight can help, but do not wait for a better answer."
)


def translate_reasons(answer: LesionAnswer, language: str) -> LesionAnswer:
    """Return an answer with messages in a language; English ones are more precise and stay as they are."""
    if language == DEFAULT_LANGUAGE or not answer.reasons:
        return answer
    reasons = [
        Reason(code=reason.code, message=_message(reason, answer.usable, language))
        for reason in answer.reasons
    ]
    return answer.model_copy(update={"reasons": reasons})


def _message(reason: Reason, usable: bool, language: str) -> str:
    t = translations(language)
    if reason.code == "near_threshold":
        return t.gettext(NEAR_THRESHOLD)
    if usable and reason.code in CAUTIONS:
        return " ".join(map(t.gettext, CAUTIONS[reason.code]))
    if not usable and reason.code in NOT_USABLE:
        text = NOT_USABLE[reason.code]
        title = t.gettext(text.title) + FULL_STOPS.get(language, ".")
        return " ".join((title, *map(t.gettext, text.steps)))
    return reason.message
