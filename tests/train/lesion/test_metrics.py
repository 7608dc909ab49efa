import numpy as np
import pytest

from models.lesion.metrics import LesionMetrics
from models.metrics import Metric
from train.lesion.metrics import lesion_metrics


def metrics_of(
    diagnosis: list[int], predicted: list[int], malignant_probability: list[float]
) -> LesionMetrics:
    return lesion_metrics(
        malignant_B=np.array(diagnosis),
        diagnosis_B=np.array(diagnosis),
        malignant_probability_B=np.array(malignant_probability),
        probability_BK=np.eye(2)[predicted],
        labels=("Nevus", "Melanoma"),
        threshold=0.5,
    )


def test_lesion_metrics_report_both_heads_with_n():
    metrics = metrics_of([0, 0, 0, 0, 1, 1], [0, 0, 1, 1, 1, 1], [0.1, 0.2, 0.3, 0.9, 0.8, 0.7])

    nevus = metrics.diagnosis.recall["Nevus"]
    assert metrics.n == 6
    assert nevus.n == 4 and nevus.value == 0.5
    assert nevus.low is not None and nevus.high is not None and nevus.low < 0.5 < nevus.high
    assert metrics.diagnosis.recall["Melanoma"] == Metric(value=1.0, low=0.1581, high=1.0, n=2)
    assert metrics.diagnosis.balanced_accuracy.value == 0.75
    assert metrics.risk.sensitivity.value == 1
    assert metrics.risk.specificity.value == 0.75
    assert metrics.risk.threshold_at_95_sensitivity.value == 0.7


def test_photos_of_one_class_leave_metrics_of_two_classes_undefined():
    metrics = metrics_of([0, 0, 0], [0, 0, 1], [0.1, 0.2, 0.6])

    assert metrics.risk.auroc == Metric(value=None, low=None, high=None)
    assert metrics.risk.sensitivity.value is None
    assert metrics.risk.specificity_at_95_sensitivity.value is None
    assert metrics.risk.specificity.value == pytest.approx(2 / 3, abs=1e-4)
    assert metrics.diagnosis.recall["Melanoma"].value is None
    assert metrics.diagnosis.macro_auroc.value is None


def test_the_predicted_diagnosis_is_ranked_first_and_its_calibration_error_is_not():
    probability_BK = np.array([[0.6, 0.4], [0.9, 0.1]])
    arguments = {
        "malignant_B": np.array([1, 0]),
        "diagnosis_B": np.array([1, 0]),
        "malignant_probability_B": np.array([0.4, 0.1]),
        "probability_BK": probability_BK,
        "labels": ("Nevus", "Melanoma"),
        "threshold": 0.5,
    }

    by_probability = lesion_metrics(**arguments)
    ranked = lesion_metrics(**arguments, ranking_weight_K=(1.0, 2.0))

    assert by_probability.diagnosis.balanced_accuracy.value == 0.5
    assert ranked.diagnosis.balanced_accuracy.value == 1.0
    assert ranked.diagnosis.ece == by_probability.diagnosis.ece
