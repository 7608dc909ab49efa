import numpy as np
import pytest

from train.progress.same_person import cross_fitted_rates, fit_threshold


def people_of(spread: float, *, num_people: int = 5, num_photos: int = 6) -> dict[str, np.ndarray]:
    """Return descriptors of people at distance 1.41 from each other, with noise of norm ``spread``."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, (num_people, num_photos, 128))
    noise *= spread / np.linalg.norm(noise, axis=-1, keepdims=True)
    return {f"p{number}": np.eye(128)[number] + noise[number] for number in range(num_people)}


def test_the_threshold_leaves_out_people_and_weighs_pairs_of_people_equally():
    near, far = np.linspace(0.1, 0.2, 10), np.linspace(0.8, 1.0, 10_000)
    distances = {("a", "b"): near, ("a", "c"): far, ("b", "c"): far}

    assert fit_threshold(distances) == pytest.approx(0.1)
    assert fit_threshold(distances, without=("b",)) == pytest.approx(0.802, abs=0.001)


def test_distinct_people_are_noticed_without_false_alarms():
    people = people_of(0.2)

    rates = cross_fitted_rates(people, people, np.random.default_rng(0))

    assert rates.noticed.value == 1 and rates.noticed.n == 60
    assert rates.false_alarms.value == 0 and set(rates.false_alarms_by_person) == set(people)


def test_people_of_varied_photos_raise_false_alarms_or_are_missed():
    people = people_of(3.0)

    rates = cross_fitted_rates(people, people, np.random.default_rng(0))

    assert rates.noticed.value is not None and rates.false_alarms.value is not None
    assert rates.false_alarms.value > 0.3 or rates.noticed.value < 0.7
