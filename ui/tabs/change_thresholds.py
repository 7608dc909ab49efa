"""Thresholds of the verdict on a series, and probabilities of improvement rounded beside them."""

from serve.progress.schemas import ProgressAnswer, VerdictThresholds
from ui.rendering import whole_percent


def thresholds_of(answer: ProgressAnswer) -> VerdictThresholds:
    """Return the thresholds that an answer states."""
    return VerdictThresholds(improved=answer.improved_threshold, worsened=answer.worsened_threshold)


def whole_percent_improved(probability: float, thresholds: VerdictThresholds) -> int:
    """Round a probability of improvement to percent, never over a threshold, as ``whole_percent`` does.

    Its difference to 100 is the probability of worsening.
    """
    nearest = whole_percent(probability, limit=thresholds.improved)
    verdict = thresholds.verdict(probability)
    if thresholds.worsened is None or verdict == "improved":
        return nearest
    highest_worsened = 100 - whole_percent(thresholds.worsened, limit=thresholds.worsened)
    return min(nearest, highest_worsened) if verdict == "worsened" else max(nearest, highest_worsened + 1)
