"""What a photo lacks, and what to do, for each reason of the API."""

from collections.abc import Sequence
from typing import NamedTuple

from serve.schemas import Reason, ReasonCode
from ui.rendering import sentence


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
        "This photo is too small",
        "It has too few pixels to show a lesion.",
        (
            "Send the original photo, not a thumbnail or a screenshot.",
            "Or take a new one with the camera of a phone, from about 10 cm.",
        ),
    ),
    "too_dark": ReasonText(
        "This photo is too dark",
        "Almost nothing can be seen in it.",
        ("Take it again in daylight, near a window.", "Make sure that nothing covers the lens."),
    ),
    "overexposed": ReasonText(
        "This photo is too bright",
        "Most of it is white, so the colours of the skin are lost.",
        (
            "Take it again without flash and out of direct sun.",
            "Tap on the lesion on the screen of the phone: the camera then sets the light for it.",
        ),
    ),
    "not_skin": ReasonText(
        "This does not look like a skin lesion",
        "The network answers for close photos of skin only.",
        (
            "Take a sharp photo from 10 cm, with the lesion in the middle and only skin around it.",
            "Use daylight, and no filter or black and white.",
        ),
    ),
    "no_lesion": ReasonText(
        "No lesion was found",
        "Nothing in this photo looks like a lesion.",
        (
            "Take the photo from 10 cm, with the lesion in the middle.",
            "Tap on the lesion on the screen of the phone, so that it is in focus.",
        ),
    ),
    "lesion_too_small": ReasonText(
        "The lesion is too small in this photo",
        "It was found, but it has too few pixels to be classified.",
        (
            "Move closer, to about 10 cm, until the lesion fills a quarter of the picture.",
            "Do not use the digital zoom: it adds no detail.",
            "Send the original photo, not a reduced copy.",
        ),
    ),
    "unfamiliar": ReasonText(
        "The network does not know photos like this",
        "A verdict on it would be a guess, so there is none.",
        (
            "Take a sharp photo of one lesion from 10 cm, in daylight.",
            "Use no filter, no flash and no text or drawing on the picture.",
            "Keep plasters, jewellery and hair out of it.",
        ),
    ),
}
"""For photos that are not usable."""

_CAUTIONS: dict[ReasonCode, Caution] = {
    "blurred": Caution(
        "The lesion is blurred, so this answer is less certain.",
        "Take the photo again, and tap on the lesion on the screen of the phone to focus on it.",
    ),
    "several_lesions": Caution(
        "There are several lesions in this photo.",
        "Only the one in the frame was classified. Take a photo of each one by itself.",
    ),
}
"""For reasons beside a verdict."""


def not_usable_text(reasons: Sequence[Reason]) -> ReasonText:
    """Return the text of the first reason, with the steps of all."""
    texts = [NOT_USABLE.get(reason.code) or _by_message(reason) for reason in reasons]
    steps = dict.fromkeys(step for text in texts for step in text.steps)
    return texts[0]._replace(steps=tuple(steps))


def cautions(reasons: Sequence[Reason]) -> list[Caution]:
    """Return the reasons that weaken a verdict; ``near_threshold`` is the verdict itself."""
    return [
        _CAUTIONS.get(reason.code) or Caution("This answer is less certain.", sentence(reason.message))
        for reason in reasons
        if reason.code != "near_threshold"
    ]


def findings(reasons: Sequence[Reason]) -> str:
    """Return what the server measured, without its advice: messages are "found, needed; what to do"."""
    return " ".join(sentence(reason.message.partition("; ")[0]) for reason in reasons)


def _by_message(reason: Reason) -> ReasonText:
    return ReasonText("This photo cannot be classified", sentence(reason.message), ())
