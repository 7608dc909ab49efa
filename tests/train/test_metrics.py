import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from train.metrics import interval, interval_over_groups, lesion_metrics, progress_metrics, recalls
from train.report import bootstrap
from train.report.bootstrap import Resamples


def once(figure: bootstrap.Figure, num_examples: int) -> np.ndarray:
    return figure(np.ones((1, num_examples)))[0]


def test_balanced_accuracy_of_always_the_common_class_is_chance():
    target = np.array([0] * 90 + [1] * 10)

    assert recalls(target, np.zeros(100, int)).mean() == 0.5
    assert once(bootstrap.balanced_accuracy(target, np.zeros(100, int), 2), 100) == 0.5


def test_balanced_accuracy_is_over_the_classes_that_occur():
    target = np.array([0, 0, 2, 2])

    assert once(bootstrap.balanced_accuracy(target, np.array([0, 1, 2, 2]), 4), 4) == 0.75


def test_macro_auroc_of_perfect_and_of_uninformed_answers():
    target = np.array([0, 1, 2, 0, 1, 2])

    assert once(bootstrap.macro_auroc(target, np.eye(3)[target]), 6) == 1
    assert once(bootstrap.macro_auroc(target, np.full((6, 3), 1 / 3)), 6) == 0.5


@pytest.mark.parametrize("decimals", [1, 9], ids=["ties", "no ties"])
def test_auroc_and_roc_of_a_resample_are_scikit_learns_on_the_drawn_examples(decimals: int):
    random = np.random.default_rng(0)
    positive = random.integers(0, 2, 60)
    score = (random.random(60) + 0.3 * positive).round(decimals)
    drawn = random.integers(0, 60, (5, 60))
    count_RB = np.stack([np.bincount(index, minlength=60) for index in drawn]).astype(float)

    found = bootstrap.auroc(positive, score)(count_RB)
    curves = bootstrap.sensitivities(positive, score, np.array([0.3, 0.5]))(count_RB)

    assert found == pytest.approx([roc_auc_score(positive[i], score[i]) for i in drawn])
    for curve, index in zip(curves, drawn, strict=True):
        alarms, caught, _ = roc_curve(positive[index], score[index], drop_intermediate=False)
        assert curve == pytest.approx(np.interp([0.3, 0.5], alarms, caught))


def test_specificity_at_a_sensitivity_takes_the_largest_threshold_that_reaches_it():
    positive = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    score = np.array([0.1, 0.2, 0.5, 0.6, 0.3, 0.5, 0.8, 0.9])

    at_75 = once(bootstrap.specificity_at(positive, score, 0.75), 8)
    at_100 = once(bootstrap.specificity_at(positive, score, 1.0), 8)

    assert at_75.tolist() == [0.5, 0.5]
    assert at_100.tolist() == [0.5, 0.3]


def test_calibration_error_is_the_weighted_distance_of_15_bins():
    said = np.array([0.9] * 10 + [0.31] * 30)
    happened = np.array([1] * 8 + [0] * 2 + [1] * 12 + [0] * 18)

    assert once(bootstrap.calibration_error(said, happened), 40) == pytest.approx(0.25 * 0.1 + 0.75 * 0.09)
    assert bootstrap.bin_of(np.array([0.0, 1 / 15, 1.0, 1.0000001])).tolist() == [0, 1, 14, 14]


def test_exact_probabilities_are_measured_near_what_chance_leaves():
    said = np.random.default_rng(0).random(2000)
    happened = np.random.default_rng(1).random(2000) < said

    chance = bootstrap.error_if_calibrated(said)
    few = bootstrap.error_if_calibrated(said[:100])

    assert once(bootstrap.calibration_error(said, happened), 2000) < chance["high"]
    assert few["mean"] > 3 * chance["mean"]


def test_an_interval_holds_its_value_and_narrows_with_n():
    random = np.random.default_rng(0)
    widths = []
    for n in (100, 2500):
        target = np.repeat([0, 1], n)
        right = random.random(2 * n) < 0.8
        predicted = np.where(right, target, 1 - target)
        figure = Resamples(None, target).interval(bootstrap.balanced_accuracy(target, predicted, 2))
        assert figure["low"] < figure["value"] < figure["high"]
        widths.append(figure["high"] - figure["low"])

    assert widths[0] / widths[1] == pytest.approx(5, rel=0.4)


def test_many_resamples_at_once_agree_with_one_after_the_other():
    random = np.random.default_rng(3)
    target = random.integers(0, 2, 200)
    predicted = np.where(random.random(200) < 0.75, target, 1 - target)

    at_once = Resamples(None, target).interval(bootstrap.balanced_accuracy(target, predicted, 2))
    in_turn = interval(lambda i: float(recalls(target[i], predicted[i]).mean()), target)

    assert at_once["value"] == in_turn["value"]
    assert [at_once["low"], at_once["high"]] == pytest.approx([in_turn["low"], in_turn["high"]], abs=0.02)


def test_photos_of_one_lesion_come_together_and_widen_the_interval():
    target = np.repeat([0, 1], 100)
    predicted = np.where(np.arange(200) % 40 < 10, 1 - target, target)
    group = [str(index // 10) for index in range(200)]

    alone = Resamples(None, target).interval(bootstrap.balanced_accuracy(target, predicted, 2))
    grouped = Resamples(group, target).interval(bootstrap.balanced_accuracy(target, predicted, 2))

    assert grouped["value"] == alone["value"]
    assert grouped["high"] - grouped["low"] > 2 * (alone["high"] - alone["low"])


def metrics_of(diagnosis: list[int], named: list[int], malignant_probability: list[float]) -> dict:
    return lesion_metrics(
        malignant_B=np.array(diagnosis),
        diagnosis_B=np.array(diagnosis),
        malignant_probability_B=np.array(malignant_probability),
        probability_BK=np.eye(2)[named],
        labels=("Nevus", "Melanoma"),
        threshold=0.5,
    )


def test_lesion_metrics_report_both_heads_with_n():
    metrics = metrics_of([0, 0, 0, 0, 1, 1], [0, 0, 1, 1, 1, 1], [0.1, 0.2, 0.3, 0.9, 0.8, 0.7])

    recall = metrics["diagnosis"]["recall"]
    assert metrics["n"] == 6
    assert recall["Nevus"]["n"] == 4 and recall["Nevus"]["value"] == 0.5
    assert recall["Nevus"]["low"] < 0.5 < recall["Nevus"]["high"]
    assert recall["Melanoma"] == {"value": 1.0, "low": 1.0, "high": 1.0, "n": 2}
    assert metrics["diagnosis"]["balanced_accuracy"]["value"] == 0.75
    assert metrics["risk"]["sensitivity"]["value"] == 1
    assert metrics["risk"]["specificity"]["value"] == 0.75
    assert metrics["risk"]["threshold_at_95_sensitivity"]["value"] == 0.7


def test_one_class_only_leaves_undefined_what_takes_two():
    metrics = metrics_of([0, 0, 0], [0, 0, 1], [0.1, 0.2, 0.6])

    assert metrics["risk"]["auroc"] == {"value": None, "low": None, "high": None}
    assert metrics["risk"]["sensitivity"]["value"] is None
    assert metrics["risk"]["specificity_at_95_sensitivity"]["value"] is None
    assert metrics["risk"]["specificity"]["value"] == pytest.approx(2 / 3, abs=1e-4)
    assert metrics["diagnosis"]["recall"]["Melanoma"]["value"] is None
    assert metrics["diagnosis"]["macro_auroc"]["value"] is None


@pytest.mark.parametrize("verdict", [0, 1])
def test_series_of_one_verdict_leave_undefined_what_takes_two(verdict: int):
    metrics = progress_metrics(
        improved_B=np.full(4, verdict),
        improved_probability_B=np.array([0.1, 0.6, 0.7, 0.9]),
        num_photos_B=np.array([2, 3, 5, 9]),
        person_B=np.array(["anna", "anna", "ben", "carl"]),
    )

    known, other = ("worsened", "improved")[:: 1 - 2 * verdict]
    assert metrics["recall"][known]["value"] == (0.25, 0.75)[verdict]
    assert metrics["recall"][other] == {"value": None, "low": None, "high": None, "n": 0}
    assert metrics["auroc"] == {"value": None, "low": None, "high": None}
    assert metrics["balanced_accuracy"]["value"] == (0.25, 0.75)[verdict]


def test_a_figure_of_no_groups_is_not_defined():
    assert interval_over_groups(lambda i: float(i.mean()), np.array([]))["value"] is None
