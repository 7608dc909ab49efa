"""What a labeller says of one note, and the label that follows from it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, Protocol, cast, get_args

from models.errors import SkinserveError

Verdict = Literal["POSITIVE", "NEGATIVE", "NEUTRAL", "MIXED"]
IMPROVED, WORSENED = "improved", "worsened"


class LabelError(SkinserveError):
    """Labels cannot be made or compared; the message says what is missing and what to do."""


@dataclass(frozen=True, kw_only=True)
class Sentiment:
    """The mood of one note, in the words of AWS Comprehend; the four scores add up to 1."""

    verdict: Verdict
    positive: float
    negative: float
    neutral: float
    mixed: float
    language: str
    """Code as Comprehend writes it: en, es, zh-TW."""

    def to_json(self) -> str:
        """Write the scores as a manifest keeps them."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a labeller has nothing to say of a note; the text never repeats the note."""

    reason: str


class Labeller(Protocol):
    """Reads notes and says how each sounds."""

    @property
    def name(self) -> str:
        """Return what the manifest calls it."""
        ...

    def __call__(self, notes: Sequence[str]) -> list[Sentiment | Refusal]:
        """Return one answer for each note, in their order; notes are not blank.

        Raises:
            LabelError: the labeller cannot work at all.
        """
        ...

    def remarks(self) -> list[str]:
        """Return what its user should know of the work done so far, a line each."""
        ...


def improvement_of(sentiment: Sentiment, *, soft: bool) -> float | None:
    """Return the probability of "improved" that a note stands for: 1 if positive, 0 if negative.

    Args:
        sentiment: of the note.
        soft: NEUTRAL and MIXED notes count as P+ / (P+ + P-); otherwise, or where both are zero, None.
    """
    if sentiment.verdict == "POSITIVE":
        return 1.0
    if sentiment.verdict == "NEGATIVE":
        return 0.0
    both = sentiment.positive + sentiment.negative
    return sentiment.positive / both if soft and both > 0 else None


def label_of(improvement: float) -> str:
    """Name the more probable class."""
    return IMPROVED if improvement >= 0.5 else WORSENED


def verdict_of(text: str) -> Verdict:
    """Check a verdict that came from outside."""
    if text not in get_args(Verdict):
        raise LabelError(
            f"a labeller said {text!r}, known are {', '.join(get_args(Verdict))}; update skinserve"
        )
    return cast(Verdict, text)
