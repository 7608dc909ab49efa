"""What the page says for the reasons of an answer for a lesion."""

from collections.abc import Sequence

from serve.lesion.reason_texts import CAUTIONS, NOT_USABLE, Caution, ReasonText
from serve.schemas import Reason
from ui.rendering import sentence
from ui.translation import N_


def not_usable_text(reasons: Sequence[Reason]) -> ReasonText:
    """Return the text of the first reason, with the steps of all."""
    texts = [NOT_USABLE.get(reason.code) or _by_message(reason) for reason in reasons]
    steps = dict.fromkeys(step for text in texts for step in text.steps)
    return texts[0]._replace(steps=tuple(steps))


def cautions(reasons: Sequence[Reason]) -> list[Caution]:
    """Return the reasons that weaken a verdict; ``near_threshold`` is the verdict itself."""
    return [
        CAUTIONS.get(reason.code) or Caution(N_("This answer is less certain."), sentence(reason.message))
        for reason in reasons
        if reason.code != "near_threshold"
    ]


def findings(reasons: Sequence[Reason]) -> str:
    """Return what the server measured, without its advice: messages are "found, needed; what to do"."""
    return " ".join(sentence(reason.message.partition("; ")[0]) for reason in reasons)


def _by_message(reason: Reason) -> ReasonText:
    return ReasonText(N_("This photo cannot be classified"), sentence(reason.message), ())
