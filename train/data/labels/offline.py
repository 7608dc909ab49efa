"""Offline sentiment of English notes by VADER: a word list and rules.

Source: Hutto and Gilbert 2014, VADER: a parsimonious rule-based model for sentiment analysis.
"""

from collections.abc import Sequence

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from train.data.labels.sentiment import NoSentiment, Sentiment, Verdict

THRESHOLD = 0.05
"""Of the compound score, as VADER's authors recommend; from -0.05 to 0.05 a note is neutral."""
COURTESY = ("please", "thanks", "thank", "dear", "welcome", "care", "kindly")
"""Polite words, which VADER counts as positive: "please continue the cream" would mean improved."""
SKIN_WORDS = {
    "improving": 2.1,
    "cleared": 2.0,
    "clearing": 1.8,
    "clearer": 2.0,
    "fading": 1.5,
    "faded": 1.5,
    "healed": 2.2,
    "healing": 1.9,
    "subsided": 1.8,
    "subsiding": 1.6,
    "smoother": 1.6,
    "calmer": 1.6,
    "worsened": -2.3,
    "worsening": -2.2,
    "aggravated": -2.0,
    "deteriorated": -2.3,
    "deteriorating": -2.2,
    "flare": -1.6,
    "flared": -1.8,
    "breakout": -1.8,
    "breakouts": -1.8,
    "persistent": -1.2,
    "spreading": -1.5,
    "inflamed": -1.8,
    "redder": -1.8,
}
"""Words about skin diseases, on VADER's scale from -4 to 4."""


class Vader:
    """Label English notes locally, without an account."""

    name = "vader"

    def __init__(self) -> None:
        self._analyzer = SentimentIntensityAnalyzer()
        for word in COURTESY:
            self._analyzer.lexicon.pop(word, None)
        self._analyzer.lexicon.update(SKIN_WORDS)

    def __call__(self, notes: Sequence[str]) -> list[Sentiment | NoSentiment]:
        """Return one result for each note; one without listed words is neutral."""
        return [self._read(note) for note in notes]

    def remarks(self) -> list[str]:
        """Return the limits of VADER."""
        return ["VADER reads English only; check some labels by hand: skinserve labels agreement"]

    def _read(self, note: str) -> Sentiment:
        scores = self._analyzer.polarity_scores(note)
        verdict: Verdict = "NEUTRAL"
        if scores["compound"] >= THRESHOLD:
            verdict = "POSITIVE"
        elif scores["compound"] <= -THRESHOLD:
            verdict = "NEGATIVE"
        return Sentiment(
            verdict=verdict,
            positive=scores["pos"],
            negative=scores["neg"],
            neutral=scores["neu"],
            mixed=0.0,
            language="en",
        )
