import pytest

from bench.scenarios.keys_and_limits import split, summarize


def test_a_cost_that_is_always_a_tenth_higher_has_a_ratio_without_spread():
    summary = summarize([9.0, 18.0, 27.0], [1.0, 2.0, 3.0], [2.0, 4.0, 6.0])

    assert summary["ratio"] == pytest.approx(1 / 1.1, abs=1e-4)
    assert summary["ratio_lower_95"] == pytest.approx(summary["ratio"], abs=1e-4)


def test_noise_lowers_the_lower_bound():
    summary = summarize([5.0] * 4, [5.0, 5.0, 5.0, 5.0], [4.0, 6.0, 4.0, 6.0])

    assert summary["ratio_lower_95"] < 0.95 < summary["ratio"]


def test_the_same_work_counts_alike_in_both_servers():
    assert summarize([10.0, 90.0], [10.0, 10.0], [10.0, 10.0])["ratio"] == 1.0


def test_only_the_processes_that_a_key_passes_are_compared():
    cost = {
        "ServeReplica:api:Gateway": 8.0,
        "ServeReplica:api:LesionClassifier": 89.0,
        "haproxy": 1.0,
        "HAProxyManager": 0.1,
        "Limiter": 1.2,
    }

    assert split(cost) == pytest.approx((10.2, 89.1))
