"""Predictions and metrics of a progress engine. Axes: B series."""

from collections.abc import Sequence

import numpy as np

from models.progress.engine import ProgressEngine
from models.progress.metrics import ProgressMetrics
from train.progress.metrics import progress_metrics
from train.progress.series import Series


def evaluate_engine(engine: ProgressEngine, series: Sequence[Series]) -> ProgressMetrics:
    """Return the metrics of an engine on series with a verdict."""
    return progress_metrics(
        improved_B=np.array([int(one.improved) for one in series]),
        improved_probability_B=predict_improved(engine, series),
        num_photos_B=np.array([one.present_T.sum() for one in series]),
        person_B=np.array([one.person for one in series]),
    )


def predict_improved(engine: ProgressEngine, series: Sequence[Series]) -> np.ndarray:
    """Return the probability of improved after the last photo, (B,), one series at a time."""
    outputs = [engine(one.photos_THWC[None], one.present_T[None]).improved_BT[0, -1] for one in series]
    return np.array(outputs, np.float64)
