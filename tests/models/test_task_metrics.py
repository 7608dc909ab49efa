from pathlib import Path

import pytest

from models.checkpoint import read_meta
from models.metrics import HEADLINE_METRICS, TaskMetrics

WEIGHTS = Path(__file__).parents[2] / "weights"


@pytest.mark.parametrize("name", ["lesion", "lesion-small", "progress"])
def test_the_summary_of_a_released_checkpoint_begins_with_the_headline_metrics(name: str):
    summary = read_meta(WEIGHTS / name).metrics.summary()

    assert tuple(summary)[:2] == HEADLINE_METRICS
    assert all(summary[name].n for name in HEADLINE_METRICS)
    assert None not in [one for metric in summary.values() for one in (metric.value, metric.low, metric.high)]


def test_a_checkpoint_without_evaluation_has_no_summary():
    assert TaskMetrics().summary() == {}
