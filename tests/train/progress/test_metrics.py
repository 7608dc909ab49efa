import numpy as np
import pytest

from models.metrics import Metric
from train.progress.metrics import progress_metrics


@pytest.mark.parametrize("verdict", [0, 1])
def test_series_of_one_verdict_leave_metrics_of_two_verdicts_undefined(verdict: int):
    metrics = progress_metrics(
        improved_B=np.full(4, verdict),
        improved_probability_B=np.array([0.1, 0.6, 0.7, 0.9]),
        num_photos_B=np.array([2, 3, 5, 9]),
        person_B=np.array(["anna", "anna", "ben", "carl"]),
    )

    known, other = ("worsened", "improved")[:: 1 - 2 * verdict]
    assert metrics.recall[known].value == (0.25, 0.75)[verdict]
    assert metrics.recall[other] == Metric(value=None, low=None, high=None, n=0)
    assert metrics.auroc == Metric(value=None, low=None, high=None)
    assert metrics.balanced_accuracy.value == (0.25, 0.75)[verdict]
