"""The metrics of both heads of a lesion network. Axes: B photo, K diagnosis."""

from collections.abc import Hashable, Sequence

import numpy as np

from models.lesion.metrics import DiagnosisMetrics, LesionMetrics, RiskMetrics
from models.metrics import Metric
from train import metrics
from train.bootstrap import Resamples, with_exact_bounds

TARGET_SENSITIVITY = 0.95
"""Sensitivity at which the specificity of the risk head is reported."""


def lesion_metrics(
    *,
    malignant_B: np.ndarray,
    diagnosis_B: np.ndarray,
    malignant_probability_B: np.ndarray,
    probability_BK: np.ndarray,
    labels: Sequence[str],
    threshold: float,
    group_B: Sequence[Hashable] | None = None,
    ranking_weight_K: Sequence[float] | None = None,
) -> LesionMetrics:
    """Return the metrics of both heads; an undefined one has the value None.

    Args:
        malignant_B: ground truth, 0 or 1.
        diagnosis_B: ground truth, column of the diagnosis; negative for a photo without one.
        group_B: patient or lesion of each photo; the bootstrap resamples whole groups.
        ranking_weight_K: the predicted diagnosis is the one with the largest product of probability and
            weight; None: equal weights.
    """
    known_B = np.flatnonzero(diagnosis_B >= 0)
    truth_B = diagnosis_B[known_B]
    resamples = Resamples(
        None if group_B is None else [group_B[index] for index in known_B.tolist()], truth_B
    )
    return LesionMetrics(
        n=len(diagnosis_B),
        num_groups=len(set(group_B)) if group_B is not None else len(diagnosis_B),
        diagnosis=_diagnosis_metrics(
            truth_B, probability_BK[known_B], labels, resamples, np.array(ranking_weight_K or 1.0)
        ),
        risk=_risk_metrics(malignant_B, malignant_probability_B, threshold, Resamples(group_B, malignant_B)),
    )


def _class_recalls(
    truth_B: np.ndarray, predicted_B: np.ndarray, num_classes: int, resamples: Resamples
) -> list[Metric]:
    recall_K = resamples.metrics(metrics.class_recalls(truth_B, predicted_B, num_classes))
    return [
        with_exact_bounds(recall, resamples.num_groups(truth_B == klass))
        for klass, recall in enumerate(recall_K)
    ]


def _diagnosis_metrics(
    diagnosis_B: np.ndarray,
    probability_BK: np.ndarray,
    labels: Sequence[str],
    resamples: Resamples,
    ranking_weight_K: np.ndarray,
) -> DiagnosisMetrics:
    predicted_B = (probability_BK * ranking_weight_K).argmax(1)
    most_probable_B, confidence_B = probability_BK.argmax(1), probability_BK.max(1)
    recall_K = _class_recalls(diagnosis_B, predicted_B, len(labels), resamples)
    count_K = np.bincount(diagnosis_B, minlength=len(labels)).tolist()
    return DiagnosisMetrics(
        num_diagnoses=sum(count > 0 for count in count_K),
        balanced_accuracy=resamples.metric(metrics.balanced_accuracy(diagnosis_B, predicted_B, len(labels))),
        recall={
            label: recall.model_copy(update={"n": count})
            for label, recall, count in zip(labels, recall_K, count_K, strict=True)
        },
        macro_auroc=resamples.metric(metrics.macro_auroc(diagnosis_B, probability_BK)),
        ece=resamples.metric(metrics.calibration_error(confidence_B, most_probable_B == diagnosis_B)),
        ece_if_calibrated=metrics.chance_calibration_error(confidence_B),
    )


def _risk_metrics(
    malignant_B: np.ndarray, probability_B: np.ndarray, threshold: float, resamples: Resamples
) -> RiskMetrics:
    predicted_B = (probability_B >= threshold).astype(int)
    likelier_B = (probability_B >= 0.5).astype(int)
    confidence_B = np.maximum(probability_B, 1 - probability_B)
    specificity, sensitivity = _class_recalls(malignant_B, predicted_B, 2, resamples)
    best_specificity, best_threshold = resamples.metrics(
        metrics.specificity_at(malignant_B, probability_B, TARGET_SENSITIVITY)
    )
    return RiskMetrics(
        balanced_accuracy=resamples.metric(metrics.balanced_accuracy(malignant_B, predicted_B, 2)),
        sensitivity=sensitivity,
        specificity=specificity,
        auroc=resamples.metric(metrics.auroc(malignant_B, probability_B)),
        specificity_at_95_sensitivity=best_specificity,
        threshold_at_95_sensitivity=best_threshold,
        ece=resamples.metric(metrics.calibration_error(probability_B, malignant_B)),
        ece_of_predicted_side=resamples.metric(
            metrics.calibration_error(confidence_B, likelier_B == malignant_B)
        ),
        ece_if_calibrated=metrics.chance_calibration_error(probability_B),
    )
