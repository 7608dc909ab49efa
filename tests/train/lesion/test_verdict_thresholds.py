import numpy as np
import pytest
from scipy.stats import binom

from train.lesion.verdict_thresholds import (
    CONFIDENCE,
    ErrorLimits,
    choose_thresholds,
    upper_bound,
)


def photos(n: int, *, seed: int = 0, shift: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    malignant_B = (random.random(n) < 0.4).astype(int)
    odds_B = random.normal(0, 1, n) + shift * (malignant_B - 0.5)
    return 1 / (1 + np.exp(-odds_B)), malignant_B


def choose(probability_B: np.ndarray, malignant_B: np.ndarray, **options: object):
    n = len(probability_B)
    options = {"group_B": list(range(n)), "source_B": ["clinic"] * n} | options
    return choose_thresholds(probability_B, malignant_B, **options)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("errors", "n"), [(0, 50), (3, 100), (10, 150)])
def test_upper_bound_is_the_rate_at_which_so_few_errors_are_unlikely(errors: int, n: int) -> None:
    bound = upper_bound(errors, n)

    assert binom.cdf(errors, n, bound) == pytest.approx(1 - CONFIDENCE)
    assert bound > errors / n


def test_upper_bound_without_photos_is_one() -> None:
    assert upper_bound(0, 0) == 1


def test_both_error_rates_are_bounded_and_the_range_between_is_inconclusive() -> None:
    probability_B, malignant_B = photos(2000)
    limits = ErrorLimits(malignant_called_benign=0.08, benign_called_malignant=0.15)

    chosen = choose(probability_B, malignant_B, limits=limits)

    assert 0 < chosen.benign < chosen.malignant < 1
    assert 0.06 < chosen.malignant_called_benign <= 0.08 and 0.12 < chosen.benign_called_malignant <= 0.15
    assert (probability_B[malignant_B == 1] < chosen.benign).mean() < chosen.malignant_called_benign
    assert (probability_B[malignant_B == 0] >= chosen.malignant).mean() < chosen.benign_called_malignant


def test_thresholds_of_well_separated_classes_are_in_order() -> None:
    chosen = choose(*photos(2000, shift=12))

    assert chosen.benign <= chosen.malignant


def test_the_worst_large_source_decides() -> None:
    easy, hard = photos(2000, shift=6), photos(2000, seed=1, shift=1)
    probability_B, malignant_B = np.concatenate([easy[0], hard[0]]), np.concatenate([easy[1], hard[1]])

    together = choose(probability_B, malignant_B)
    apart = choose(probability_B, malignant_B, source_B=["easy"] * 2000 + ["hard"] * 2000)

    assert apart.benign < together.benign and apart.malignant > together.malignant


def test_a_source_with_few_photos_does_not_decide() -> None:
    probability_B, malignant_B = photos(2000)
    wrong_B = 1 - malignant_B[:20]
    both = np.concatenate([probability_B, probability_B[:20]]), np.concatenate([malignant_B, wrong_B])

    chosen = choose(*both, source_B=["large"] * 2000 + ["small"] * 20)

    assert chosen.benign > 0.01


def test_many_photos_of_one_lesion_count_once() -> None:
    """Copies of one missed melanoma must not decide the threshold, nor shrink the bound."""
    probability_B, malignant_B = photos(2000)
    copies = 500
    probability_B = np.concatenate([probability_B, np.full(copies, 0.001)])
    malignant_B = np.concatenate([malignant_B, np.ones(copies, int)])
    groups = [*range(2000), *["copied"] * copies]

    assert choose(probability_B, malignant_B, group_B=groups).benign > 0.05
    assert choose(probability_B, malignant_B).benign <= 0.001


def test_too_few_photos_leave_every_verdict_inconclusive() -> None:
    chosen = choose(*photos(10))

    assert (chosen.benign, chosen.malignant) == (0, 1)


@pytest.mark.slow
def test_the_guarantee_holds_for_new_photos() -> None:
    """In 20 repetitions the true error rate exceeds the limit about twice at most."""
    limits = ErrorLimits()
    exceeded = 0
    population, truth = photos(200_000, seed=99)
    for seed in range(20):
        chosen = choose(*photos(800, seed=seed), limits=limits)
        exceeded += (population[truth == 1] < chosen.benign).mean() > limits.malignant_called_benign

    assert exceeded <= 4


@pytest.mark.parametrize("limit", [0.0, 1.0, -0.1])
def test_limits_outside_zero_and_one_are_rejected(limit: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        ErrorLimits(malignant_called_benign=limit)
