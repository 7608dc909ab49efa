import pytest

from bench.scenarios.keys_and_limits import summarize


def test_a_cost_that_is_always_a_tenth_higher_has_a_ratio_without_spread():
    summary = summarize([9.0, 18.0, 27.0], [1.0, 2.0, 3.0], [2.0, 4.0, 6.0])

    assert summary["ratio"] == pytest.approx(1 / 1.1, abs=1e-4)
    assert summary["ratio_lower_95"] == pytest.approx(summary["ratio"], abs=1e-4)


def test_noise_lowers_the_lower_bound():
    summary = summarize([5.0] * 4, [5.0, 5.0, 5.0, 5.0], [4.0, 6.0, 4.0, 6.0])

    assert summary["ratio_lower_95"] < 0.95 < summary["ratio"]


def test_the_work_of_the_network_counts_alike_in_both_servers():
    assert summarize([10.0, 90.0], [10.0, 10.0], [10.0, 10.0])["ratio"] == 1.0
