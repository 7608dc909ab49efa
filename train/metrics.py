"""Figures that say how good a classifier is, each with its 95% interval.

Axes: B example, K class.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

NUM_RESAMPLES = 1000


def interval(
    figure: Callable[[np.ndarray], float],
    target_B: np.ndarray,
    *,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> dict[str, float]:
    """Return a figure and its 95% percentile bootstrap interval, resampled within each class.

    Args:
        figure: indices of examples to the figure on them.
        target_B: class of each example.
    """
    random = np.random.default_rng(seed)
    members = [np.flatnonzero(target_B == klass) for klass in np.unique(target_B)]
    resampled = [
        figure(np.concatenate([random.choice(index, len(index)) for index in members]))
        for _ in range(num_resamples)
    ]
    low, high = np.percentile(resampled, [2.5, 97.5])
    return {
        "value": round(figure(np.arange(len(target_B))), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
    }


def recalls(target_B: np.ndarray, predicted_B: np.ndarray) -> np.ndarray:
    """Return the recall of each class that occurs, in the order of the classes."""
    return np.array([(predicted_B[target_B == klass] == klass).mean() for klass in np.unique(target_B)])


def macro_auroc(target_B: np.ndarray, probability_BK: np.ndarray) -> float:
    """Return the mean over the classes of one-against-the-rest AUROC."""
    classes = range(probability_BK.shape[1])
    return float(np.mean([roc_auc_score(target_B == klass, probability_BK[:, klass]) for klass in classes]))


def lesion_metrics(
    *,
    malignant_B: np.ndarray,
    diagnosis_B: np.ndarray,
    malignant_probability_B: np.ndarray,
    probability_BK: np.ndarray,
    labels: tuple[str, ...],
    threshold: float,
) -> dict[str, Any]:
    """Return the figures of both heads, balanced accuracy and recalls first."""
    named_B = probability_BK.argmax(1)
    flagged_B = (malignant_probability_B >= threshold).astype(int)
    return {
        "n": len(diagnosis_B),
        "diagnosis": {
            "balanced_accuracy": interval(
                lambda i: float(recalls(diagnosis_B[i], named_B[i]).mean()), diagnosis_B
            ),
            "recall": {
                label: {"value": round(float(recall), 4), "n": int((diagnosis_B == column).sum())}
                for column, (label, recall) in enumerate(
                    zip(labels, recalls(diagnosis_B, named_B), strict=True)
                )
            },
            "macro_auroc": interval(lambda i: macro_auroc(diagnosis_B[i], probability_BK[i]), diagnosis_B),
        },
        "risk": {
            "balanced_accuracy": interval(
                lambda i: float(recalls(malignant_B[i], flagged_B[i]).mean()), malignant_B
            ),
            "sensitivity": interval(lambda i: float(recalls(malignant_B[i], flagged_B[i])[1]), malignant_B),
            "specificity": interval(lambda i: float(recalls(malignant_B[i], flagged_B[i])[0]), malignant_B),
            "auroc": interval(
                lambda i: float(roc_auc_score(malignant_B[i], malignant_probability_B[i])), malignant_B
            ),
        },
    }
