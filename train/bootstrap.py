"""Compute 95% percentile intervals by the bootstrap.

``Resamples`` evaluates a metric on all resamples at once: a resample is a row of counts, so a recall is one
matrix product and an AUROC one sort.

Axes: B example, G group, K metric, R resample.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np

from models.metrics import Metric

NUM_RESAMPLES = 1000
DECIMALS = 4
MAX_COUNTS = 4_000_000
"""Counts in memory at once, as float64."""

Statistic = Callable[[np.ndarray], np.ndarray]
"""Maps counts, (R, B), to a metric on each resample, (R,) or (R, K); NaN where it is not defined."""


class Resamples:
    """Resample whole groups, such as patients or lesions, within strata.

    Each stratum keeps its number of groups, so that a resample contains rare classes. The stratum of a group
    is the rarest class among its examples.

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
        count_RG = np.zeros((num_resamples, len(stratum_of_G)), np.uint8)
        for stratum in np.unique(stratum_of_G):
            members = np.flatnonzero(stratum_of_G == stratum)
            chosen_RG = random.integers(len(members), size=(num_resamples, len(members)))
            offset_R1 = np.arange(num_resamples)[:, None] * len(members)
            counts = np.bincount((chosen_RG + offset_R1).ravel(), minlength=num_resamples * len(members))
            count_RG[:, members] = counts.reshape(num_resamples, -1)
        self._count_RG = count_RG
        self._group_of_B = group_of_B

    def num_groups(self, chosen_B: np.ndarray) -> int:
        """Return the number of groups among the chosen examples."""
        return len(np.unique(self._group_of_B[chosen_B]))

    def metric(self, statistic: Statistic) -> Metric:
        """Return a metric with its 95% percentile interval; see ``metrics``."""
        return self.metrics(lambda count_RB: statistic(count_RB)[:, None])[0]

    def metrics(self, statistic: Statistic) -> list[Metric]:
        """Return a metric with its interval for each column of a statistic.

        The interval always contains the value: a calibration error is larger in resamples than in the sample.
        """
        value_K = statistic(np.ones((1, self.num_examples)))[0]
        resampled_RK = np.concatenate([statistic(count_RB) for count_RB in self._counts()])
        return [
            _metric(float(value), resampled_RK[:, column], contains_value=True)
            for column, value in enumerate(value_K)
        ]

    def _counts(self) -> Iterator[np.ndarray]:
        step = max(1, MAX_COUNTS // max(1, self.num_examples))
        for start in range(0, len(self._count_RG), step):
            yield self._count_RG[start : start + step][:, self._group_of_B].astype(np.float64)


def with_exact_bounds(metric: Metric, num_groups: int) -> Metric:
    """Return a share with an exact binomial interval if every resample is equal.

    The bootstrap interval of a share of 0 or 1 has width 0.

    Args:
        num_groups: patients or lesions of the share.

    Source: Clopper and Pearson 1934.
    """
    if metric.value not in (0, 1) or metric.low != metric.high or not num_groups:
        return metric
    width = 1 - 0.025 ** (1 / num_groups)
    low, high = max(0.0, metric.value - width), min(1.0, metric.value + width)
    return metric.model_copy(update={"low": round(low, DECIMALS), "high": round(high, DECIMALS)})


def groups_and_strata(
    group_B: Sequence[Hashable] | None, class_B: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the group of each example and the stratum of each group, its rarest class."""
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


def stratified_metric(
    function: Callable[[np.ndarray], float],
    class_B: np.ndarray,
    *,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> Metric:
    """Return a metric with its 95% percentile interval; resample examples within each class.

    Args:
        function: maps indices of examples to the metric; NaN where it is not defined.
        class_B: of each example.
    """
    random = np.random.default_rng(seed)
    members = [np.flatnonzero(class_B == klass) for klass in np.unique(class_B)]
    resampled = [
        function(np.concatenate([random.choice(index, len(index)) for index in members]))
        for _ in range(num_resamples)
    ]
    return _metric(function(np.arange(len(class_B))), np.array(resampled))


def two_stage_metric(
    function: Callable[[np.ndarray], float],
    group_B: np.ndarray,
    *,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> Metric:
    """Return a metric with its 95% percentile interval; resample groups, then their examples.

    Args:
        function: maps indices of examples to the metric; NaN where it is not defined.
        group_B: person or lesion of each example; without examples the metric is not defined.
    """
    if not len(group_B):
        return Metric()
    random = np.random.default_rng(seed)
    members = [np.flatnonzero(group_B == group) for group in np.unique(group_B)]
    resampled = []
    for _ in range(num_resamples):
        chosen = random.integers(len(members), size=len(members))
        resampled.append(
            function(np.concatenate([random.choice(members[g], len(members[g])) for g in chosen]))
        )
    return _metric(function(np.arange(len(group_B))), np.array(resampled))


def _metric(value: float, resampled_R: np.ndarray, *, contains_value: bool = False) -> Metric:
    defined_R = resampled_R[~np.isnan(resampled_R)]
    if np.isnan(value) or not len(defined_R):
        return Metric()
    low, high = (float(bound) for bound in np.percentile(defined_R, [2.5, 97.5]))
    if contains_value:
        low, high = min(low, value), max(high, value)
    return Metric(value=round(float(value), DECIMALS), low=round(low, DECIMALS), high=round(high, DECIMALS))
