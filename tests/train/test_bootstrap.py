import numpy as np
import pytest

from train.bootstrap import Resamples, stratified_metric, two_stage_metric
from train.metrics import balanced_accuracy, recalls


def width(low: float | None, high: float | None) -> float:
    assert low is not None and high is not None
    return high - low


def test_an_interval_contains_its_value_and_narrows_with_n():
    random = np.random.default_rng(0)
    widths: list[float] = []
    for n in (100, 2500):
        target = np.repeat([0, 1], n)
        correct = random.random(2 * n) < 0.8
        predicted = np.where(correct, target, 1 - target)
        metric = Resamples(None, target).metric(balanced_accuracy(target, predicted, 2))
        assert metric.value is not None and metric.low is not None and metric.high is not None
        assert metric.low < metric.value < metric.high
        widths.append(metric.high - metric.low)

    assert widths[0] / widths[1] == pytest.approx(5, rel=0.4)


def test_resamples_evaluated_at_once_agree_with_resamples_one_by_one():
    random = np.random.default_rng(3)
    target = random.integers(0, 2, 200)
    predicted = np.where(random.random(200) < 0.75, target, 1 - target)

    at_once = Resamples(None, target).metric(balanced_accuracy(target, predicted, 2))
    one_by_one = stratified_metric(lambda i: float(recalls(target[i], predicted[i]).mean()), target)

    assert at_once.value == one_by_one.value
    assert [at_once.low, at_once.high] == pytest.approx([one_by_one.low, one_by_one.high], abs=0.02)


def test_photos_of_one_lesion_are_resampled_together_and_widen_the_interval():
    target = np.repeat([0, 1], 100)
    predicted = np.where(np.arange(200) % 40 < 10, 1 - target, target)
    group = [str(index // 10) for index in range(200)]

    alone = Resamples(None, target).metric(balanced_accuracy(target, predicted, 2))
    grouped = Resamples(group, target).metric(balanced_accuracy(target, predicted, 2))

    assert grouped.value == alone.value
    assert width(grouped.low, grouped.high) > 2 * width(alone.low, alone.high)


def test_differences_between_people_widen_the_interval():
    correct_B = np.repeat([1.0, 1.0, 0.0], 50)
    person_B = np.repeat(["anna", "ben", "carl"], 50)

    def accuracy(index: np.ndarray) -> float:
        return float(correct_B[index].mean())

    over_series = stratified_metric(accuracy, np.zeros(150))
    over_people = two_stage_metric(accuracy, person_B)

    assert over_series.value == over_people.value == 0.6667
    assert width(over_people.low, over_people.high) > width(over_series.low, over_series.high)


def test_a_metric_without_groups_is_not_defined():
    assert two_stage_metric(lambda i: float(i.mean()), np.array([])).value is None
