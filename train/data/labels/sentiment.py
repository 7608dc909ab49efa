"""The sentiment of one note, and the label that follows from it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, Protocol, cast, get_args

from models.errors import SkinserveError

Verdict = Literal["POSITIVE", "NEGATIVE", "NEUTRAL", "MIXED"]
IMPROVED, WORSENED = "improved", "worsened"


class LabelError(SkinserveError):
    """Report that labels cannot be made or compared."""


@dataclass(frozen=True, kw_only=True)
class Sentiment:
    """Sentiment of one note as AWS Comprehend returns it; the scores add up to 1."""

    verdict: Verdict
    positive: float
    negative: float
    neutral: float
    mixed: float
    language: str
    """Language code of Comprehend: en, es, zh-TW."""

    def to_json(self) -> str:
        """Return the JSON that a manifest stores."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, kw_only=True)
class NoSentiment:
    """A note without a sentiment; the reason never quotes the note."""

    reason: str


class Labeller(Protocol):
    """Determine the sentiment of notes."""

    @property
    def name(self) -> str:
        """Return the labeller's name in manifests."""
        ...

    def __call__(self, notes: Sequence[str]) -> list[Sentiment | NoSentiment]:
        """Return one result for each note, in order; notes are not blank.

        Raises:
            LabelError: the labeller cannot be used.
        """
        ...

    def remarks(self) -> list[str]:
        """Return remarks on the notes so far for the user, one per line."""
        ...


def improvement_of(sentiment: Sentiment, *, soft: bool) -> float | None:
    """Return the probability of "improved" for a sentiment: 1 if positive, 0 if negative.

    Args:
        sentiment: of the note.
        soft: return P+ / (P+ + P-) for NEUTRAL and MIXED; otherwise, or if both are 0, None.
    """
    if sentiment.verdict == "POSITIVE":
        return 1.0
    if sentiment.verdict == "NEGATIVE":
        return 0.0
    both = sentiment.positive + sentiment.negative
    return sentiment.positive / both if soft and both > 0 else None


def label_of(improvement: float) -> str:
    """Return the more probable class."""
    return IMPROVED if improvement >= 0.5 else WORSENED


def parse_verdict(text: str) -> Verdict:
    """Return the verdict named by a labeller.

    Raises:
        LabelError: the verdict is unknown.
    """
    if text not in get_args(Verdict):
        raise LabelError(
            f"the labeller returned {text!r}, known are {', '.join(get_args(Verdict))}; update skinserve"
        )
    return cast(Verdict, text)
