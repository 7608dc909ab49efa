import pytest

from models.metrics import Metric, TaskMetrics
from serve.schemas import LoadedModel, ProgressMetrics
from ui.tabs.change_errors import false_change_rate


def with_rate(models: list[LoadedModel], share: float | None, fit: str = "cross_fitted") -> LoadedModel:
    progress = models[1]
    assert isinstance(progress.metrics, ProgressMetrics)
    measured = progress.metrics.verdicts["cross_fitted"].model_copy(
        update={"called": {"undrawn": Metric(value=0.5), "altered": Metric(value=share)}}
    )
    metrics = progress.metrics.model_copy(update={"verdicts": {fit: measured}})
    return progress.model_copy(update={"metrics": metrics})


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.1167, "12 of 100 series were called improved or worsened."),
        (0.01, "1 of 100 series was called improved or worsened."),
        (0.001, "fewer than 1 of 100 series was called improved or worsened."),
    ],
)
def test_the_rate_counts_series_of_an_unchanged_face(models, share: float, words: str):
    sentence = false_change_rate(with_rate(models, share), "en")

    assert sentence is not None and sentence.startswith(
        "In tests with unchanged faces, whose photos a program"
    )
    assert sentence.endswith(f", {words}")


def test_without_a_measurement_on_other_people_there_is_no_rate(models):
    lesion, progress = models

    assert false_change_rate(lesion, "en") is None
    assert false_change_rate(progress, "en") is None, "it was measured on other kinds of series"
    assert false_change_rate(with_rate(models, None), "en") is None
    assert false_change_rate(with_rate(models, 0.1, fit="checkpoint"), "en") is None
    assert false_change_rate(progress.model_copy(update={"metrics": TaskMetrics()}), "en") is None
