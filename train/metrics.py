"""Figures that say how good a classifier is, each with its 95% interval.

Axes: B example, K class, G group of examples.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from train.report import bootstrap
from train.report.bootstrap import NUM_RESAMPLES, Resamples

WANTED_SENSITIVITY = 0.95
"""At which the specificity of the risk head is reported."""


def interval(
    figure: Callable[[np.ndarray], float],
    target_B: np.ndarray,
    *,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> dict[str, Any]:
    """Return a figure and its 95% percentile bootstrap interval, resampled within each class.

    Args:
        figure: indices of examples to the figure on them; NaN where they do not define it.
        target_B: class of each example.
    """
    random = np.random.default_rng(seed)
    members = [np.flatnonzero(target_B == klass) for klass in np.unique(target_B)]
    resampled = [
        figure(np.concatenate([random.choice(index, len(index)) for index in members]))
        for _ in range(num_resamples)
    ]
    return _with_interval(figure(np.arange(len(target_B))), resampled)


def interval_over_groups(
    figure: Callable[[np.ndarray], float],
    group_B: np.ndarray,
    *,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> dict[str, Any]:
    """Return a figure and its 95% percentile bootstrap interval, groups resampled first, then their examples.

    Args:
        figure: indices of examples to the figure on them; NaN where they do not define it.
        group_B: of each example, the person or lesion that other examples share; of none, no figure.
    """
    if not len(group_B):
        return _with_interval(np.nan, [])
    random = np.random.default_rng(seed)
    members = [np.flatnonzero(group_B == group) for group in np.unique(group_B)]
    resampled = []
    for _ in range(num_resamples):
        chosen = random.integers(len(members), size=len(members))
        resampled.append(figure(np.concatenate([random.choice(members[g], len(members[g])) for g in chosen])))
    return _with_interval(figure(np.arange(len(group_B))), resampled)


def bracketed(figure: Mapping[str, Any]) -> str:
    """Return a figure with its interval, as ``0.470 [0.420, 0.520]``."""
    if figure["value"] is None:
        return "not defined on these photos"
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def recalls(target_B: np.ndarray, predicted_B: np.ndarray) -> np.ndarray:
    """Return the recall of each class that occurs, in the order of the classes."""
    return np.array([(predicted_B[target_B == klass] == klass).mean() for klass in np.unique(target_B)])


def lesion_metrics(
    *,
    malignant_B: np.ndarray,
    diagnosis_B: np.ndarray,
    malignant_probability_B: np.ndarray,
    probability_BK: np.ndarray,
    labels: Sequence[str],
    threshold: float,
    group_B: Sequence[Hashable] | None = None,
) -> dict[str, Any]:
    """Return the figures of both heads, balanced accuracy and recalls first.

    A figure that these examples do not define, such as an AUROC with one class only, has the value None.

    Args:
        group_B: of each example, the patient or lesion that others share; the bootstrap draws whole groups.
    """
    return {
        "n": len(diagnosis_B),
        "num_groups": len(set(group_B)) if group_B is not None else len(diagnosis_B),
        "diagnosis": diagnosis_metrics(diagnosis_B, probability_BK, labels, Resamples(group_B, diagnosis_B)),
        "risk": risk_metrics(
            malignant_B, malignant_probability_B, threshold, Resamples(group_B, malignant_B)
        ),
    }


def diagnosis_metrics(
    diagnosis_B: np.ndarray, probability_BK: np.ndarray, labels: Sequence[str], resamples: Resamples
) -> dict[str, Any]:
    """Return the figures of the diagnosis head; its calibration error is that of the first named."""
    named_B = probability_BK.argmax(1)
    confidence_B = probability_BK.max(1)
    recall_K = resamples.intervals(bootstrap.class_recalls(diagnosis_B, named_B, len(labels)))
    count_K = np.bincount(diagnosis_B, minlength=len(labels)).tolist()
    return {
        "num_diagnoses": int((np.bincount(diagnosis_B, minlength=len(labels)) > 0).sum()),
        "balanced_accuracy": resamples.interval(
            bootstrap.balanced_accuracy(diagnosis_B, named_B, len(labels))
        ),
        "recall": {
            label: recall | {"n": count}
            for label, recall, count in zip(labels, recall_K, count_K, strict=True)
        },
        "macro_auroc": resamples.interval(bootstrap.macro_auroc(diagnosis_B, probability_BK)),
        "ece": resamples.interval(bootstrap.calibration_error(confidence_B, named_B == diagnosis_B)),
        "ece_if_calibrated": bootstrap.error_if_calibrated(confidence_B),
    }


def risk_metrics(
    malignant_B: np.ndarray, probability_B: np.ndarray, threshold: float, resamples: Resamples
) -> dict[str, Any]:
    """Return the figures of the risk head.

    Its calibration error is that of the probability of malignancy. The error of the predicted side's
    confidence, also given, is the milder of the two: it lets errors on both sides of one half cancel out.
    """
    flagged_B = (probability_B >= threshold).astype(int)
    likelier_B = (probability_B >= 0.5).astype(int)
    side_B = np.maximum(probability_B, 1 - probability_B)
    specificity, sensitivity = resamples.intervals(bootstrap.class_recalls(malignant_B, flagged_B, 2))
    best, best_threshold = resamples.intervals(
        bootstrap.specificity_at(malignant_B, probability_B, WANTED_SENSITIVITY)
    )
    return {
        "balanced_accuracy": resamples.interval(bootstrap.balanced_accuracy(malignant_B, flagged_B, 2)),
        "sensitivity": sensitivity,
        "specificity": specificity,
        "auroc": resamples.interval(bootstrap.auroc(malignant_B, probability_B)),
        "specificity_at_95_sensitivity": best,
        "threshold_at_95_sensitivity": best_threshold,
        "ece": resamples.interval(bootstrap.calibration_error(probability_B, malignant_B)),
        "ece_of_predicted_side": resamples.interval(
            bootstrap.calibration_error(side_B, likelier_B == malignant_B)
        ),
        "ece_if_calibrated": bootstrap.error_if_calibrated(probability_B),
    }


def progress_metrics(
    *,
    improved_B: np.ndarray,
    improved_probability_B: np.ndarray,
    num_photos_B: np.ndarray,
    person_B: np.ndarray,
) -> dict[str, Any]:
    """Return the figures of the verdict at probability 0.5, balanced accuracy and recalls first.

    A figure that these series do not define, such as an AUROC with one verdict only, has the value None.

    Args:
        improved_B: 0 or 1.
        num_photos_B: photos with a face in each series.
        person_B: whose series it is.
    """
    verdict_B = (improved_probability_B >= 0.5).astype(int)

    def balanced_accuracy(index: np.ndarray) -> float:
        return float(recalls(improved_B[index], verdict_B[index]).mean())

    def recall(index: np.ndarray, verdict: int) -> float:
        said_B = verdict_B[index][improved_B[index] == verdict]
        return float((said_B == verdict).mean()) if len(said_B) else np.nan

    def auroc(index: np.ndarray) -> float:
        if len(np.unique(improved_B[index])) < 2:
            return np.nan
        return float(roc_auc_score(improved_B[index], improved_probability_B[index]))

    lengths = {"2 to 3": (2, 3), "4 to 6": (4, 6), "7 and more": (7, np.inf)}
    members = {
        name: np.flatnonzero((num_photos_B >= a) & (num_photos_B <= b)) for name, (a, b) in lengths.items()
    }
    return {
        "n": len(improved_B),
        "num_people": len(np.unique(person_B)),
        "balanced_accuracy": interval(balanced_accuracy, improved_B),
        "balanced_accuracy_over_people": interval_over_groups(balanced_accuracy, person_B),
        "recall": {
            label: interval(partial(recall, verdict=verdict), improved_B)
            | {"n": int((improved_B == verdict).sum())}
            for verdict, label in enumerate(("worsened", "improved"))
        },
        "auroc": interval(auroc, improved_B),
        "balanced_accuracy_by_photos": {
            name: {"value": round(balanced_accuracy(index), 4), "n": len(index)}
            for name, index in members.items()
            if len(index)
        },
        "balanced_accuracy_by_person": {
            str(person): round(balanced_accuracy(np.flatnonzero(person_B == person)), 4)
            for person in np.unique(person_B)
        },
    }


def _with_interval(value: float, resampled: Sequence[float]) -> dict[str, Any]:
    defined = np.array(resampled)[~np.isnan(resampled)]
    if np.isnan(value) or not len(defined):
        return {"value": None, "low": None, "high": None}
    low, high = np.percentile(defined, [2.5, 97.5])
    return {"value": round(value, 4), "low": round(float(low), 4), "high": round(float(high), 4)}
