import random

import pytest

from serve.config import CanaryLimits
from serve.runtime.canary_rules import AnswerCounts, Violation, _binomial_tail, _differ, find_violation

LIMITS = CanaryLimits()


def counts(
    n: int, *, errors: int = 0, malignant: int = 0, latency_s: float = 0.1, slow: int = 0, blurred: int = 0
) -> AnswerCounts:
    """Return ``n`` answers; ``slow`` of them take 10 s."""
    found = AnswerCounts()
    for number in range(n - errors):
        verdict = "malignant" if number < malignant else "benign"
        found.add_answer(verdict, ["blurred"] * (number < blurred), 10.0 if number < slow else latency_s)
    for _ in range(errors):
        found.add_error()
    return found


def violation(production: AnswerCounts, canary: AnswerCounts, limits: CanaryLimits = LIMITS) -> Violation:
    found = find_violation(production, canary, limits)
    assert found is not None
    return found


def test_equal_models_keep_all_bounds():
    assert (
        find_violation(counts(900, malignant=180, errors=9), counts(100, malignant=20, errors=1), LIMITS)
        is None
    )


def test_few_answers_decide_nothing():
    assert find_violation(counts(900), counts(49, errors=49), LIMITS) is None


def test_a_canary_with_errors_leaves_its_bound():
    found = violation(counts(900, errors=9), counts(50, errors=25))

    assert found.cause == "errors"
    assert found.description == "errors: 0.500 of 50, production 0.010 of 900, bound 0.060"


def test_errors_of_production_raise_the_bound():
    assert find_violation(counts(900, errors=450), counts(50, errors=25), LIMITS) is None


def test_errors_are_found_without_production_traffic():
    assert violation(AnswerCounts(), counts(50, errors=50)).cause == "errors"
    assert find_violation(AnswerCounts(), counts(1000, malignant=1000), LIMITS) is None


def test_a_slow_canary_leaves_its_bound():
    found = violation(counts(900), counts(100, latency_s=0.3))

    assert found.cause == "latency"
    assert "production 0.11 s (n 900), bound 2 times" in found.description


@pytest.mark.parametrize(
    "canary", [counts(100, latency_s=0.19), counts(100, slow=6), counts(100, latency_s=0.01)]
)
def test_a_canary_within_twice_the_latency_or_with_few_slow_answers_stays(canary: AnswerCounts):
    assert find_violation(counts(900), canary, LIMITS) is None


def test_a_canary_with_one_verdict_only_leaves_its_bound():
    found = violation(counts(900, malignant=180), counts(60, malignant=60))

    assert found.cause == "verdicts"
    assert found.description == "verdicts: benign in 0.000 of 60, production 0.800 of 900, bound 0.15 apart"


def test_a_small_difference_of_verdicts_is_no_violation_however_significant():
    assert (
        find_violation(counts(100_000, malignant=20_000), counts(100_000, malignant=34_000), LIMITS) is None
    )


def test_a_large_difference_of_few_verdicts_is_no_violation():
    assert find_violation(counts(60, malignant=12), counts(50, malignant=20), LIMITS) is None


def test_a_reason_that_becomes_frequent_is_a_violation():
    found = violation(counts(900, blurred=9), counts(60, blurred=30))

    assert (found.cause, "blurred in 0.500 of 60" in found.description) == ("reasons", True)


def test_a_bound_that_is_switched_off_is_not_checked():
    off = LIMITS.model_copy(
        update={"max_error_increase": None, "max_latency_ratio": None, "max_share_difference": None}
    )

    canary = counts(100, errors=40, latency_s=9.0, malignant=60)
    assert find_violation(counts(900), canary, off) is None


def test_counts_of_gateways_add_up():
    total = AnswerCounts()
    for _ in range(3):
        total.add(counts(10, errors=2, malignant=4, blurred=1))

    assert total == counts(30, errors=6, malignant=12, blurred=3)


@pytest.mark.parametrize(
    ("number", "n", "p", "tail"),
    [(9, 50, 0.05, 0.000755984691), (5, 5, 0.4, 0.01024), (400, 5000, 0.06, 7.42260326e-09)],
)
def test_the_binomial_tail_is_that_of_scipy(number: int, n: int, p: float, tail: float):
    assert _binomial_tail(number, n, p) == pytest.approx(tail, rel=1e-6)


def test_shares_of_equal_counts_do_not_differ():
    assert not _differ((0, 50), (0, 900), 0.001)
    assert not _differ((50, 50), (900, 900), 0.001)
    assert _differ((50, 50), (0, 900), 0.001)


def test_an_equal_canary_is_rarely_rolled_back_however_often_it_is_checked():
    draw = random.Random(0)
    num_wrong = 0
    for _ in range(50):  # canaries of 10% of 2,000 requests, compared after every 100
        production, canary = AnswerCounts(), AnswerCounts()
        for number in range(1, 2001):
            counted = canary if draw.random() < 0.1 else production
            verdict = draw.choices(["benign", "malignant", "inconclusive"], [0.6, 0.15, 0.25])[0]
            reasons = [code for code in ("near_threshold", "blurred", "no_lesion") if draw.random() < 0.2]
            if draw.random() < 0.01:
                counted.add_error()
            else:
                counted.add_answer(verdict, reasons, draw.lognormvariate(-2, 0.6))
            if number % 100 == 0 and find_violation(production, canary, LIMITS):
                num_wrong += 1
                break

    assert num_wrong <= 1
