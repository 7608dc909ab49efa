import pytest

from bench.scenarios.keys_and_limits import summarize


def test_a_cost_that_is_always_a_tenth_higher_has_a_ratio_without_spread():
    summary = summarize([10.0, 20.0, 30.0], [11.0, 22.0, 33.0])

    assert summary["ratio"] == pytest.approx(1 / 1.1, abs=1e-4)
    assert summary["ratio_lower_95"] == pytest.approx(summary["ratio"], abs=1e-4)


def test_noise_lowers_the_lower_bound():
    summary = summarize([10.0, 10.0, 10.0, 10.0], [9.0, 11.0, 9.0, 11.0])

    assert summary["ratio_lower_95"] < 0.95 < summary["ratio"]
