"""Choose the two thresholds of the three-way verdict with a guarantee.

Axes: B photo of the validation set.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

MIN_PHOTOS = 150
"""Malignant, or benign, photos from which a source has to fulfil the guarantee by itself."""
CONFIDENCE = 0.90


@dataclass(frozen=True, kw_only=True)
class ErrorLimits:
    """Highest error rates, as upper confidence bounds."""

    malignant_called_benign: float = 0.08
    benign_called_malignant: float = 0.15

    def __post_init__(self) -> None:
        if not (0 < self.malignant_called_benign < 1 and 0 < self.benign_called_malignant < 1):
            raise ValueError(f"error limits must be between 0 and 1, are {self}")


@dataclass(frozen=True, kw_only=True)
class VerdictThresholds:
    """Thresholds of the probability of malignancy, and the bounds of their error rates."""

    benign: float
    malignant: float
    malignant_called_benign: float
    """Upper bound over all sources together."""
    benign_called_malignant: float
    """Likewise."""


def choose_thresholds(
    probability_B: np.ndarray,
    malignant_B: np.ndarray,
    group_B: Sequence[Hashable],
    source_B: Sequence[str],
    *,
    limits: ErrorLimits = ErrorLimits(),
    seed: int = 0,
) -> VerdictThresholds:
    """Choose the highest benign and the lowest malignant threshold whose error rates are bounded.

    Each threshold is tested along a fixed sequence, from the strictest on, until the first failure. A test
    passes if the upper Clopper-Pearson bound is within the limit over all sources together, and in each
    source with ``MIN_PHOTOS`` of these photos. One photo per group counts, sampled at random. The guarantee
    is for photos like these, at ``CONFIDENCE``.

    Args:
        probability_B: of malignancy, of usable photos.
        malignant_B: 0 or 1.
        group_B: patient or lesion.
        source_B: data set.
        limits: of the error rates.
        seed: of the sampling.

    Source: Clopper and Pearson 1934; fixed sequence testing as in Angelopoulos et al. 2021, arXiv:2110.01052.
    """
    probability_B, malignant_B = np.asarray(probability_B), np.asarray(malignant_B) == 1
    sources, one_B = np.array(source_B), _one_per_group(group_B, seed)
    positives = _subsets(probability_B, malignant_B, sources, one_B)
    negatives = _subsets(probability_B, ~malignant_B, sources, one_B)
    steps = np.linspace(0, 1, 1001)
    low = _last_passed(steps, positives, limits.malignant_called_benign, _below)
    high = _last_passed(steps[::-1], negatives, limits.benign_called_malignant, _from)
    low, high = min(low, high), max(low, high)
    return VerdictThresholds(
        benign=low,
        malignant=high,
        malignant_called_benign=upper_bound(_below(positives[0], low), len(positives[0])),
        benign_called_malignant=upper_bound(_from(negatives[0], high), len(negatives[0])),
    )


def upper_bound(errors: int, n: int, confidence: float = CONFIDENCE) -> float:
    """Return the upper Clopper-Pearson bound of an error rate; 1 without photos."""
    return 1.0 if errors >= n else float(beta.ppf(confidence, errors + 1, n - errors))


def lower_bound(errors: int, n: int, confidence: float = CONFIDENCE) -> float:
    """Return the lower Clopper-Pearson bound of an error rate; 0 without photos."""
    return 0.0 if not errors else float(beta.ppf(1 - confidence, errors, n - errors + 1))


def _one_per_group(group_B: Sequence[Hashable], seed: int) -> np.ndarray:
    order = np.random.default_rng(seed).permutation(len(group_B))
    chosen = {group_B[index]: index for index in order.tolist()}
    return np.sort(np.fromiter(chosen.values(), np.int64, len(chosen)))


def _subsets(
    probability_B: np.ndarray, chosen_B: np.ndarray, source_B: np.ndarray, one_B: np.ndarray
) -> list[np.ndarray]:
    """Return the probabilities of one photo per group: of all sources, then of each large source."""
    names, counts = np.unique(source_B[chosen_B], return_counts=True)
    one_B = one_B[chosen_B[one_B]]
    large = [one_B[source_B[one_B] == name] for name in names[counts >= MIN_PHOTOS]]
    return [probability_B[index_B] for index_B in (one_B, *large)]


def _below(probability_B: np.ndarray, threshold: float) -> int:
    return int((probability_B < threshold).sum())


def _from(probability_B: np.ndarray, threshold: float) -> int:
    return int((probability_B >= threshold).sum())


def _last_passed(
    steps: np.ndarray,
    subsets: Sequence[np.ndarray],
    limit: float,
    errors: Callable[[np.ndarray, float], int],
) -> float:
    """Return the last threshold before the first failed test; the strictest one if it fails already."""
    passed = float(steps[0])
    for step in steps.tolist():
        if any(upper_bound(errors(own, step), len(own)) > limit for own in subsets):
            break
        passed = step
    return passed
