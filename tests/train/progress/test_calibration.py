import numpy as np
import pytest

from models.progress.engine import ProgressOutput
from models.progress.verdict import VerdictThresholds
from train.progress.calibration import MAX_CALLED, VerdictData
from train.progress.series import Series


class FakeEngine:
    """Return the red of the last photo as the probability, 0 to 1."""

    def __call__(self, photos_BTHWC: np.ndarray, present_BT: np.ndarray) -> ProgressOutput:
        return ProgressOutput(improved_BT=photos_BTHWC[..., 0].mean((2, 3)) / np.float32(255))


def series_of(person: str, probability: float, improved: float = 0.5) -> Series:
    photos = np.full((2, 4, 4, 3), round(255 * probability), np.uint8)
    return Series(
        photos_THWC=photos,
        present_T=np.ones(2, bool),
        improvement_T=np.full(2, improved, np.float32),
        person=person,
    )


def unchanged(person: str, count: int, spread: float = 0.1) -> list[Series]:
    values = np.random.default_rng(len(person)).uniform(0.5 - spread, 0.5 + spread, count)
    return [series_of(person, float(value)) for value in values]


def data_of(no_change: dict[str, list[Series]], changed: list[Series] | None = None) -> VerdictData:
    return VerdictData(FakeEngine(), no_change, {"drawn": changed or []})  # pyright: ignore[reportArgumentType]


def test_at_most_a_tenth_of_the_series_is_called_and_every_person_weighs_the_same():
    series = [*unchanged("a", 200), *unchanged("bb", 10, spread=0.3), *unchanged("ccc", 50)]
    data = data_of({"undrawn": series})

    thresholds = data.thresholds()
    called = data.metrics(thresholds).called_by_person["undrawn"]

    assert thresholds.improved == thresholds.worsened
    assert 0 < sum(called.values()) / 3 <= MAX_CALLED
    assert called["bb"] > 0


def test_cross_fitting_leaves_out_the_person_of_each_series():
    wild = [series_of("wild", value) for value in np.linspace(0, 1, 20)]
    data = data_of({"undrawn": [*unchanged("a", 20), *unchanged("bb", 20), *wild]})

    fitted, cross_fitted = data.metrics(data.thresholds()), data.metrics()

    assert cross_fitted.called_by_person["undrawn"]["wild"] > 0.6
    assert fitted.called_by_person["undrawn"]["wild"] < 0.4


def test_found_changes_count_the_right_verdict_and_opposite_the_wrong_one():
    changed = [
        series_of("a", 0.9, improved=1),
        series_of("a", 0.1, improved=1),
        series_of("a", 0.1, improved=0),
        series_of("a", 0.5, improved=0),
    ]

    metrics = data_of({}, changed).metrics(VerdictThresholds(improved=0.7, worsened=0.7))

    assert (metrics.found["drawn"].value, metrics.opposite["drawn"].value) == (0.5, 0.25)
    assert metrics.found["drawn"].n == 4 and metrics.called == {}


@pytest.mark.parametrize(
    "no_change", [{}, {"undrawn": unchanged("a", 20)}, {"drawn": [*unchanged("a", 9), *unchanged("b", 9)]}]
)
def test_without_real_controls_of_two_people_there_are_two_verdicts(no_change: dict[str, list[Series]]):
    assert data_of(no_change).thresholds() == VerdictThresholds(improved=0.5)
