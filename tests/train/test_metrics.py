import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score, roc_curve

from train import metrics
from train.bootstrap import Statistic
from train.metrics import recalls


def evaluate(statistic: Statistic, num_examples: int) -> np.ndarray:
    return statistic(np.ones((1, num_examples)))[0]


def test_balanced_accuracy_of_always_the_common_class_is_chance():
    target = np.array([0] * 90 + [1] * 10)

    assert recalls(target, np.zeros(100, int)).mean() == 0.5
    assert evaluate(metrics.balanced_accuracy(target, np.zeros(100, int), 2), 100) == 0.5


def test_balanced_accuracy_is_over_the_classes_that_occur():
    target = np.array([0, 0, 2, 2])

    assert evaluate(metrics.balanced_accuracy(target, np.array([0, 1, 2, 2]), 4), 4) == 0.75


def test_macro_auroc_of_perfect_and_of_uniform_probabilities():
    target = np.array([0, 1, 2, 0, 1, 2])

    assert evaluate(metrics.macro_auroc(target, np.eye(3)[target]), 6) == 1
    assert evaluate(metrics.macro_auroc(target, np.full((6, 3), 1 / 3)), 6) == 0.5


@pytest.mark.parametrize("decimals", [1, 9], ids=["ties", "no ties"])
def test_auroc_and_roc_of_a_resample_are_scikit_learns_on_its_examples(decimals: int):
    random = np.random.default_rng(0)
    positive = random.integers(0, 2, 60)
    score = (random.random(60) + 0.3 * positive).round(decimals)
    resamples = random.integers(0, 60, (5, 60))
    count_RB = np.stack([np.bincount(index, minlength=60) for index in resamples]).astype(float)

    found = metrics.auroc(positive, score)(count_RB)
    curves = metrics.roc_sensitivities(positive, score, np.array([0.3, 0.5]))(count_RB)

    assert found == pytest.approx([roc_auc_score(positive[i], score[i]) for i in resamples])
    for curve, index in zip(curves, resamples, strict=True):
        fpr, tpr, _ = roc_curve(positive[index], score[index], drop_intermediate=False)
        assert curve == pytest.approx(np.interp([0.3, 0.5], fpr, tpr))


def test_specificity_at_a_sensitivity_takes_the_largest_threshold_that_reaches_it():
    positive = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    score = np.array([0.1, 0.2, 0.5, 0.6, 0.3, 0.5, 0.8, 0.9])

    at_75 = evaluate(metrics.specificity_at(positive, score, 0.75), 8)
    at_100 = evaluate(metrics.specificity_at(positive, score, 1.0), 8)

    assert at_75.tolist() == [0.5, 0.5]
    assert at_100.tolist() == [0.5, 0.3]


def test_calibration_error_is_the_weighted_distance_of_15_bins():
    predicted = np.array([0.9] * 10 + [0.31] * 30)
    outcome = np.array([1] * 8 + [0] * 2 + [1] * 12 + [0] * 18)

    assert evaluate(metrics.calibration_error(predicted, outcome), 40) == pytest.approx(
        0.25 * 0.1 + 0.75 * 0.09
    )
    assert metrics.bin_of(np.array([0.0, 1 / 15, 1.0, 1.0000001])).tolist() == [0, 1, 14, 14]


def test_exact_probabilities_have_the_calibration_error_of_chance():
    predicted = np.random.default_rng(0).random(2000)
    outcome = np.random.default_rng(1).random(2000) < predicted

    chance = metrics.chance_calibration_error(predicted)
    few = metrics.chance_calibration_error(predicted[:100])

    assert evaluate(metrics.calibration_error(predicted, outcome), 2000) < (chance.high or 0)
    assert (few.mean or 0) > 3 * (chance.mean or 0)


def test_kappa_of_a_resample_is_scikit_learns():
    random = np.random.default_rng(0)
    first, second = random.integers(0, 2, (2, 30))
    resamples = random.integers(0, 30, (5, 30))
    count_RB = np.stack([np.bincount(index, minlength=30) for index in resamples]).astype(float)

    found = metrics.cohen_kappa(first, second, 2)(count_RB)

    assert found == pytest.approx([cohen_kappa_score(first[i], second[i]) for i in resamples])


def test_kappa_of_one_label_is_not_defined():
    assert np.isnan(evaluate(metrics.cohen_kappa(np.zeros(4, int), np.zeros(4, int), 2), 4))
