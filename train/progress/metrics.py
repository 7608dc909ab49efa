"""The metrics of a progress network at probability 0.5. Axes: B series."""

from collections.abc import Callable
from functools import partial

import numpy as np
from sklearn.metrics import roc_auc_score

from models.metrics import Metric
from models.progress.metrics import ProgressMetrics
from train.bootstrap import DECIMALS, stratified_metric, two_stage_metric
from train.metrics import recalls

NUM_PHOTOS = {"2 to 3": (2, 3), "4 to 6": (4, 6), "7 and more": (7, np.inf)}
"""Lengths of series that are evaluated apart."""


def progress_metrics(
    *,
    improved_B: np.ndarray,
    improved_probability_B: np.ndarray,
    num_photos_B: np.ndarray,
    person_B: np.ndarray,
) -> ProgressMetrics:
    """Return the metrics of the verdict; an undefined one has the value None.

    Args:
        improved_B: ground truth, 0 or 1.
        num_photos_B: photos with a face in each series.
        person_B: person of each series.
    """
    verdict_B = (improved_probability_B >= 0.5).astype(int)

    def balanced_accuracy(index: np.ndarray) -> float:
        return float(recalls(improved_B[index], verdict_B[index]).mean())

    def recall(index: np.ndarray, verdict: int) -> float:
        members = index[improved_B[index] == verdict]
        return float((verdict_B[members] == verdict).mean()) if len(members) else np.nan

    def auroc(index: np.ndarray) -> float:
        if len(np.unique(improved_B[index])) < 2:
            return np.nan
        return float(roc_auc_score(improved_B[index], improved_probability_B[index]))

    return ProgressMetrics(
        n=len(improved_B),
        num_people=len(np.unique(person_B)),
        balanced_accuracy=stratified_metric(balanced_accuracy, improved_B),
        balanced_accuracy_over_people=two_stage_metric(balanced_accuracy, person_B),
        recall={
            label: stratified_metric(partial(recall, verdict=verdict), improved_B).model_copy(
                update={"n": int((improved_B == verdict).sum())}
            )
            for verdict, label in enumerate(("worsened", "improved"))
        },
        auroc=stratified_metric(auroc, improved_B),
        balanced_accuracy_by_photos=_by_photos(balanced_accuracy, num_photos_B),
        balanced_accuracy_by_person={
            str(person): round(balanced_accuracy(np.flatnonzero(person_B == person)), DECIMALS)
            for person in np.unique(person_B)
        },
    )


def _by_photos(function: Callable[[np.ndarray], float], num_photos_B: np.ndarray) -> dict[str, Metric]:
    """Return a metric for each range of lengths that occurs."""
    members = {
        name: np.flatnonzero((num_photos_B >= least) & (num_photos_B <= most))
        for name, (least, most) in NUM_PHOTOS.items()
    }
    return {
        name: Metric(value=round(function(index), DECIMALS), n=len(index))
        for name, index in members.items()
        if len(index)
    }
