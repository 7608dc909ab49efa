"""Figures on many resamples at once: from how often every example was drawn to the figure on each.

A bootstrap resample is a row of counts, so a recall is one product of matrices and an AUROC one sort for all
resamples. Axes: R resample, B example, K class or bin.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np

NUM_RESAMPLES = 1000
NUM_BINS = 15
"""Of a reliability diagram, of equal width."""
DECIMALS = 4
_CHUNK = 4_000_000
"""Numbers held at once as float64."""

Figure = Callable[[np.ndarray], np.ndarray]
"""Counts, (R, B), to the figure on each resample, (R,) or (R, K); NaN where it is not defined."""


class Resamples:
    """Bootstrap resamples of groups, such as lesions or patients: photos of one come together or not at all.

    As many groups are drawn of each stratum as there are, so that rare classes are not missing. A group of
    several classes belongs to the stratum of its rarest.

    Args:
        group_B: of each example; None if every example is a group of its own.
        class_B: of each example.
    """

    def __init__(
        self,
        group_B: Sequence[Hashable] | None,
        class_B: np.ndarray,
        *,
        num_resamples: int = NUM_RESAMPLES,
        seed: int = 0,
    ) -> None:
        self.num_examples = len(class_B)
        random = np.random.default_rng(seed)
        group_of_B, stratum_of_G = groups_and_strata(group_B, class_B)
        drawn_RG = np.zeros((num_resamples, len(stratum_of_G)), np.uint8)
        for stratum in np.unique(stratum_of_G):
            members = np.flatnonzero(stratum_of_G == stratum)
            chosen_RG = random.integers(len(members), size=(num_resamples, len(members)))
            offset_R1 = np.arange(num_resamples)[:, None] * len(members)
            counts = np.bincount((chosen_RG + offset_R1).ravel(), minlength=num_resamples * len(members))
            drawn_RG[:, members] = counts.reshape(num_resamples, -1)
        self._drawn_RG = drawn_RG
        self._group_of_B = group_of_B

    def interval(self, figure: Figure) -> dict[str, Any]:
        """Return a figure with its 95% percentile interval; see ``intervals``."""
        return self.intervals(lambda count_RB: figure(count_RB)[:, None])[0]

    def intervals(self, figure: Figure) -> list[dict[str, Any]]:
        """Return each column of a figure as ``{"value", "low", "high"}``; None where it is not defined.

        A calibration error is larger in resamples than in the sample; its interval is made to hold the value.
        """
        value_K = figure(np.ones((1, self.num_examples)))[0]
        drawn_RK = np.concatenate([figure(count_RB) for count_RB in self._counts()])
        return [_rounded(value, drawn_RK[:, column]) for column, value in enumerate(value_K)]

    def _counts(self) -> Iterator[np.ndarray]:
        step = max(1, _CHUNK // max(1, self.num_examples))
        for start in range(0, len(self._drawn_RG), step):
            yield self._drawn_RG[start : start + step][:, self._group_of_B].astype(np.float64)


def groups_and_strata(
    group_B: Sequence[Hashable] | None, class_B: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of each example's group, and of each group its rarest class."""
    classes, class_of_B, count_K = np.unique(class_B, return_inverse=True, return_counts=True)
    if group_B is None:
        return np.arange(len(class_B)), class_of_B
    numbers: dict[Hashable, int] = {}
    group_of_B = np.array([numbers.setdefault(group, len(numbers)) for group in group_B], dtype=np.int64)
    rank_of_K = np.empty(len(classes), np.int64)
    rank_of_K[np.argsort(count_K, kind="stable")] = np.arange(len(classes))
    stratum_of_G = np.full(len(numbers), len(classes))
    np.minimum.at(stratum_of_G, group_of_B, rank_of_K[class_of_B])
    return group_of_B, stratum_of_G


def class_recalls(target_B: np.ndarray, predicted_B: np.ndarray, num_classes: int) -> Figure:
    """Return the figure of every class's recall, (R, K)."""
    member_BK = np.eye(num_classes)[target_B]
    right_BK = member_BK * (target_B == predicted_B)[:, None]
    return lambda count_RB: _ratio(count_RB @ right_BK, count_RB @ member_BK)


def balanced_accuracy(target_B: np.ndarray, predicted_B: np.ndarray, num_classes: int) -> Figure:
    """Return the figure of the mean recall of the classes that occur."""
    recalls = class_recalls(target_B, predicted_B, num_classes)
    return lambda count_RB: _mean_defined(recalls(count_RB))


def auroc(positive_B: np.ndarray, score_B: np.ndarray) -> Figure:
    """Return the figure of the area under the ROC curve; ties count half. NaN with one class only."""
    order, starts = _tied(score_B)
    positive = positive_B[order].astype(bool)

    def figure(count_RB: np.ndarray) -> np.ndarray:
        ordered = count_RB[:, order]
        pos = np.add.reduceat(ordered * positive, starts, axis=1)
        neg = np.add.reduceat(ordered * ~positive, starts, axis=1)
        below = np.cumsum(neg, axis=1) - neg / 2
        return _ratio((pos * below).sum(1), pos.sum(1) * neg.sum(1))

    return figure


def macro_auroc(target_B: np.ndarray, probability_BK: np.ndarray) -> Figure:
    """Return the figure of the mean one-against-the-rest AUROC of the classes that occur."""
    figures = [auroc(target_B == klass, score_B) for klass, score_B in enumerate(probability_BK.T)]
    return lambda count_RB: _mean_defined(np.stack([figure(count_RB) for figure in figures], axis=1))


def specificity_at(positive_B: np.ndarray, score_B: np.ndarray, sensitivity: float) -> Figure:
    """Return the figures (R, 2): the best specificity at a sensitivity, and the threshold that gives it.

    The threshold is chosen anew in every resample: the largest score at which enough positives score as much
    or more.
    """
    order, starts = _tied(-score_B)
    positive = positive_B[order].astype(bool)
    score_S = score_B[order][starts]

    def figure(count_RB: np.ndarray) -> np.ndarray:
        ordered = count_RB[:, order]
        pos = np.cumsum(np.add.reduceat(ordered * positive, starts, axis=1), axis=1)
        neg = np.cumsum(np.add.reduceat(ordered * ~positive, starts, axis=1), axis=1)
        first = (pos >= sensitivity * pos[:, -1:] - 1e-9).argmax(1)
        every = np.arange(len(first))
        found = np.stack([1 - _ratio(neg[every, first], neg[:, -1]), score_S[first]], axis=1)
        found[pos[:, -1] == 0] = np.nan
        return found

    return figure


def sensitivities(positive_B: np.ndarray, score_B: np.ndarray, false_alarms_K: np.ndarray) -> Figure:
    """Return the figure of the ROC curve: the sensitivity, (R, K), at each share of false alarms."""
    order, starts = _tied(-score_B)
    positive = positive_B[order].astype(bool)

    def figure(count_RB: np.ndarray) -> np.ndarray:
        ordered = count_RB[:, order]
        shares = []
        for members in (positive, ~positive):
            counted = np.cumsum(np.add.reduceat(ordered * members, starts, axis=1), axis=1)
            shares.append(np.pad(_ratio(counted, counted[:, -1:]), ((0, 0), (1, 0))))
        return np.stack([np.interp(false_alarms_K, no, yes) for yes, no in zip(*shares, strict=True)])

    return figure


def named_shares(named_B: np.ndarray, num_classes: int) -> Figure:
    """Return the figure of the share, (R, K), that each class has among what was named."""
    named_BK = np.eye(num_classes)[named_B]
    return lambda count_RB: _ratio(count_RB @ named_BK, count_RB.sum(1, keepdims=True))


def shares_by_bin(probability_B: np.ndarray, happened_B: np.ndarray) -> Figure:
    """Return the figure of a reliability diagram: the share that happened in each bin, (R, 15)."""
    bins_BK = np.eye(NUM_BINS)[bin_of(probability_B)]
    happened_BK = bins_BK * happened_B[:, None]
    return lambda count_RB: _ratio(count_RB @ happened_BK, count_RB @ bins_BK)


def calibration_error(probability_B: np.ndarray, happened_B: np.ndarray) -> Figure:
    """Return the figure of the expected calibration error: 15 bins of equal width, weighted by their size.

    Source: Naeini et al. 2015, AAAI; Guo et al. 2017, arXiv:1706.04599.
    """
    gap_BK = np.eye(NUM_BINS)[bin_of(probability_B)] * (probability_B - happened_B)[:, None]
    return lambda count_RB: _ratio(np.abs(count_RB @ gap_BK).sum(1), count_RB.sum(1))


def bin_of(probability_B: np.ndarray) -> np.ndarray:
    """Return the bin of each probability, 0 to 14."""
    return np.minimum((probability_B * NUM_BINS).astype(int), NUM_BINS - 1)


def error_if_calibrated(probability_B: np.ndarray, *, seed: int = 0) -> dict[str, float]:
    """Return what calibration error chance alone leaves when the probabilities are exactly right.

    With few photos in a bin the share that happens strays from the probability: no network can be measured
    to be better than this.

    Returns:
        mean, and the value that 95 of 100 such networks stay below.
    """
    random = np.random.default_rng(seed)
    bins_BK = np.eye(NUM_BINS)[bin_of(probability_B)]
    step = max(1, _CHUNK // len(probability_B))
    found: list[np.ndarray] = []
    for start in range(0, NUM_RESAMPLES, step):
        shape = (min(step, NUM_RESAMPLES - start), len(probability_B))
        gap_RB = probability_B - (random.random(shape) < probability_B)
        found.append(np.abs(gap_RB @ bins_BK).sum(1) / len(probability_B))
    errors = np.concatenate(found)
    return {
        "mean": round(float(errors.mean()), DECIMALS),
        "high": round(float(np.percentile(errors, 95)), DECIMALS),
    }


def _tied(score_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order of rising scores, and where in it each run of equal scores starts."""
    order = np.argsort(score_B, kind="stable")
    ordered = score_B[order]
    return order, np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    above, below = np.broadcast_arrays(above, below)
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


def _mean_defined(value_RK: np.ndarray) -> np.ndarray:
    defined = ~np.isnan(value_RK)
    return _ratio(np.where(defined, value_RK, 0).sum(1), defined.sum(1))


def _rounded(value: float, drawn_R: np.ndarray) -> dict[str, Any]:
    drawn_R = drawn_R[~np.isnan(drawn_R)]
    if np.isnan(value) or not len(drawn_R):
        return {"value": None, "low": None, "high": None}
    low, high = np.percentile(drawn_R, [2.5, 97.5])
    numbers = {"value": value, "low": min(low, value), "high": max(high, value)}
    return {name: round(float(number), DECIMALS) for name, number in numbers.items()}
