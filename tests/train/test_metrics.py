import numpy as np
import pytest

from train.metrics import interval, lesion_metrics, macro_auroc, recalls


def test_balanced_accuracy_of_always_the_common_class_is_chance():
    target = np.array([0] * 90 + [1] * 10)

    assert recalls(target, np.zeros(100, int)).mean() == 0.5


def test_macro_auroc_of_perfect_and_of_uninformed_answers():
    target = np.array([0, 1, 2, 0, 1, 2])

    assert macro_auroc(target, np.eye(3)[target]) == 1
    assert macro_auroc(target, np.full((6, 3), 1 / 3)) == 0.5


def test_an_interval_holds_its_value_and_narrows_with_n():
    random = np.random.default_rng(0)
    widths = []
    for n in (100, 2500):
        target = np.repeat([0, 1], n)
        right = random.random(2 * n) < 0.8
        predicted = np.where(right, target, 1 - target)
        figure = interval(
            lambda i, t=target, p=predicted: float(recalls(t[i], p[i]).mean()), target, num_resamples=200
        )
        assert figure["low"] < figure["value"] < figure["high"]
        widths.append(figure["high"] - figure["low"])

    assert widths[0] / widths[1] == pytest.approx(5, rel=0.4)


def test_lesion_metrics_report_both_heads_with_n():
    diagnosis = np.array([0, 0, 0, 0, 1, 1])

    metrics = lesion_metrics(
        malignant_B=diagnosis,
        diagnosis_B=diagnosis,
        malignant_probability_B=np.array([0.1, 0.2, 0.3, 0.9, 0.8, 0.7]),
        probability_BK=np.eye(2)[[0, 0, 1, 1, 1, 1]],
        labels=("Nevus", "Melanoma"),
        threshold=0.5,
    )

    assert metrics["n"] == 6
    assert metrics["diagnosis"]["recall"] == {
        "Nevus": {"value": 0.5, "n": 4},
        "Melanoma": {"value": 1.0, "n": 2},
    }
    assert metrics["diagnosis"]["balanced_accuracy"]["value"] == 0.75
    assert metrics["risk"]["sensitivity"]["value"] == 1
    assert metrics["risk"]["specificity"]["value"] == 0.75
