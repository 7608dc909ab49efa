"""Figures that say how good a classifier is, each with its 95% interval.

Axes: B example, K class, G group of examples.
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


def interval_over_groups(
    figure: Callable[[np.ndarray], float],
    group_B: np.ndarray,
    *,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> dict[str, float]:
    """Return a figure and its 95% percentile bootstrap interval, groups resampled first, then their examples.

    Args:
        figure: indices of examples to the figure on them.
        group_B: of each example, the person or lesion that other examples share.
    """
    random = np.random.default_rng(seed)
    members = [np.flatnonzero(group_B == group) for group in np.unique(group_B)]
    resampled = []
    for _ in range(num_resamples):
        chosen = random.integers(len(members), size=len(members))
        resampled.append(figure(np.concatenate([random.choice(members[g], len(members[g])) for g in chosen])))
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return {
        "value": round(figure(np.arange(len(group_B))), 4),
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


def progress_metrics(
    *,
    improved_B: np.ndarray,
    improved_probability_B: np.ndarray,
    num_photos_B: np.ndarray,
    person_B: np.ndarray,
) -> dict[str, Any]:
    """Return the figures of the verdict at probability 0.5, balanced accuracy and recalls first.

    Args:
        improved_B: 0 or 1.
        num_photos_B: photos with a face in each series.
        person_B: whose series it is.
    """
    verdict_B = (improved_probability_B >= 0.5).astype(int)

    def balanced_accuracy(index: np.ndarray) -> float:
        return float(recalls(improved_B[index], verdict_B[index]).mean())

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
            label: interval(
                lambda i, column=column: float(recalls(improved_B[i], verdict_B[i])[column]), improved_B
            )
            | {"n": int((improved_B == column).sum())}
            for column, label in enumerate(("worsened", "improved"))
        },
        "auroc": interval(
            lambda i: float(roc_auc_score(improved_B[i], improved_probability_B[i])), improved_B
        ),
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
