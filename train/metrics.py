"""Metrics as functions of bootstrap counts: each call evaluates all resamples at once.

Axes: B example, K class, bin or point of a curve, R resample, S distinct score.
"""

import numpy as np

from models.metrics import ChanceError
from train.bootstrap import DECIMALS, MAX_COUNTS, NUM_RESAMPLES, Statistic

NUM_BINS = 15
"""Bins of equal width in a reliability diagram."""


def recalls(target_B: np.ndarray, predicted_B: np.ndarray) -> np.ndarray:
    """Return the recall of each class that occurs, in the order of the classes."""
    return np.array([(predicted_B[target_B == klass] == klass).mean() for klass in np.unique(target_B)])


def class_recalls(target_B: np.ndarray, predicted_B: np.ndarray, num_classes: int) -> Statistic:
    """Return the recall of every class, (R, K)."""
    member_BK = np.eye(num_classes)[target_B]
    correct_BK = member_BK * (target_B == predicted_B)[:, None]
    return lambda count_RB: _ratio(count_RB @ correct_BK, count_RB @ member_BK)


def balanced_accuracy(target_B: np.ndarray, predicted_B: np.ndarray, num_classes: int) -> Statistic:
    """Return the mean recall of the classes that occur."""
    recall = class_recalls(target_B, predicted_B, num_classes)
    return lambda count_RB: _nanmean(recall(count_RB))


def cohen_kappa(first_B: np.ndarray, second_B: np.ndarray, num_classes: int) -> Statistic:
    """Return Cohen's kappa of two labels; NaN where both give every example the same label."""
    first_BK, second_BK = np.eye(num_classes)[first_B], np.eye(num_classes)[second_B]
    agree_B = (first_B == second_B).astype(np.float64)

    def statistic(count_RB: np.ndarray) -> np.ndarray:
        n_R = count_RB.sum(1)
        expected_R = ((count_RB @ first_BK) * (count_RB @ second_BK)).sum(1) / n_R**2
        return _ratio(count_RB @ agree_B / n_R - expected_R, 1 - expected_R)

    return statistic


def auroc(positive_B: np.ndarray, score_B: np.ndarray) -> Statistic:
    """Return the area under the ROC curve; ties count half, NaN with one class only."""
    order, starts = _sort_with_ties(score_B)
    positive = positive_B[order].astype(bool)

    def statistic(count_RB: np.ndarray) -> np.ndarray:
        ordered = count_RB[:, order]
        pos = np.add.reduceat(ordered * positive, starts, axis=1)
        neg = np.add.reduceat(ordered * ~positive, starts, axis=1)
        below = np.cumsum(neg, axis=1) - neg / 2
        return _ratio((pos * below).sum(1), pos.sum(1) * neg.sum(1))

    return statistic


def macro_auroc(target_B: np.ndarray, probability_BK: np.ndarray) -> Statistic:
    """Return the mean one-versus-rest AUROC of the classes that occur."""
    statistics = [auroc(target_B == klass, score_B) for klass, score_B in enumerate(probability_BK.T)]
    return lambda count_RB: _nanmean(np.stack([statistic(count_RB) for statistic in statistics], axis=1))


def specificity_at(positive_B: np.ndarray, score_B: np.ndarray, sensitivity: float) -> Statistic:
    """Return (R, 2): the best specificity at a sensitivity, and its threshold.

    Each resample chooses its own threshold: the largest score that reaches the sensitivity.
    """
    order, starts = _sort_with_ties(-score_B)
    positive = positive_B[order].astype(bool)
    score_S = score_B[order][starts]

    def statistic(count_RB: np.ndarray) -> np.ndarray:
        ordered = count_RB[:, order]
        pos = np.cumsum(np.add.reduceat(ordered * positive, starts, axis=1), axis=1)
        neg = np.cumsum(np.add.reduceat(ordered * ~positive, starts, axis=1), axis=1)
        first = (pos >= sensitivity * pos[:, -1:] - 1e-9).argmax(1)
        every = np.arange(len(first))
        found = np.stack([1 - _ratio(neg[every, first], neg[:, -1]), score_S[first]], axis=1)
        found[pos[:, -1] == 0] = np.nan
        return found

    return statistic


def roc_sensitivities(
    positive_B: np.ndarray, score_B: np.ndarray, false_positive_rate_K: np.ndarray
) -> Statistic:
    """Return the sensitivity, (R, K), of the ROC curve at each false positive rate."""
    order, starts = _sort_with_ties(-score_B)
    positive = positive_B[order].astype(bool)

    def statistic(count_RB: np.ndarray) -> np.ndarray:
        ordered = count_RB[:, order]
        rates = []
        for members in (positive, ~positive):
            counted = np.cumsum(np.add.reduceat(ordered * members, starts, axis=1), axis=1)
            rates.append(np.pad(_ratio(counted, counted[:, -1:]), ((0, 0), (1, 0))))
        return np.stack([np.interp(false_positive_rate_K, fpr, tpr) for tpr, fpr in zip(*rates, strict=True)])

    return statistic


def predicted_shares(predicted_B: np.ndarray, num_classes: int) -> Statistic:
    """Return the share of each predicted class, (R, K)."""
    predicted_BK = np.eye(num_classes)[predicted_B]
    return lambda count_RB: _ratio(count_RB @ predicted_BK, count_RB.sum(1, keepdims=True))


def observed_frequencies(probability_B: np.ndarray, outcome_B: np.ndarray) -> Statistic:
    """Return the frequency of the outcome, (R, K), in each bin of a reliability diagram."""
    bins_BK = np.eye(NUM_BINS)[bin_of(probability_B)]
    outcome_BK = bins_BK * outcome_B[:, None]
    return lambda count_RB: _ratio(count_RB @ outcome_BK, count_RB @ bins_BK)


def calibration_error(probability_B: np.ndarray, outcome_B: np.ndarray) -> Statistic:
    """Return the expected calibration error: 15 bins of equal width, weighted by their size.

    Source: Naeini et al. 2015, AAAI; Guo et al. 2017, arXiv:1706.04599.
    """
    gap_BK = np.eye(NUM_BINS)[bin_of(probability_B)] * (probability_B - outcome_B)[:, None]
    return lambda count_RB: _ratio(np.abs(count_RB @ gap_BK).sum(1), count_RB.sum(1))


def bin_of(probability_B: np.ndarray) -> np.ndarray:
    """Return the bin of each probability, 0 to 14."""
    return np.minimum((probability_B * NUM_BINS).astype(int), NUM_BINS - 1)


def chance_calibration_error(probability_B: np.ndarray, *, seed: int = 0) -> ChanceError:
    """Simulate outcomes at these probabilities and return the calibration error that results.

    In a bin with few photos the frequency differs from the probability by chance. No measured error can be
    expected below this one.
    """
    random = np.random.default_rng(seed)
    bins_BK = np.eye(NUM_BINS)[bin_of(probability_B)]
    step = max(1, MAX_COUNTS // len(probability_B))
    parts: list[np.ndarray] = []
    for start in range(0, NUM_RESAMPLES, step):
        shape = (min(step, NUM_RESAMPLES - start), len(probability_B))
        gap_RB = probability_B - (random.random(shape) < probability_B)
        parts.append(np.abs(gap_RB @ bins_BK).sum(1) / len(probability_B))
    error_R = np.concatenate(parts)
    return ChanceError(
        mean=round(float(error_R.mean()), DECIMALS),
        high=round(float(np.percentile(error_R, 95)), DECIMALS),
    )


def _sort_with_ties(score_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ascending order of the scores and the start of each tie."""
    order = np.argsort(score_B, kind="stable")
    ordered = score_B[order]
    return order, np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0)


def _nanmean(value_RK: np.ndarray) -> np.ndarray:
    defined = ~np.isnan(value_RK)
    return _ratio(np.where(defined, value_RK, 0).sum(1), defined.sum(1))
