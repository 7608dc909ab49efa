import pytest
from jinja2 import UndefinedError

from ui.rendering import css_percent, percent, render


@pytest.mark.parametrize(
    ("probability", "text"), [(0, "<1%"), (0.014, "1%"), (0.5, "50%"), (0.99, "99%"), (0.999, ">99%")]
)
def test_a_probability_never_claims_certainty(probability: float, text: str):
    assert percent(probability) == text


@pytest.mark.parametrize(
    ("probability", "limit", "text"),
    [
        (0.4996, 0.5, "49%"),
        (0.5, 0.5, "50%"),
        (0.5004, 0.5, "50%"),
        (0.5496, 0.55, "54%"),
        (0.55, 0.55, "55%"),
        (0.353, 0.354, "35%"),
        (0.354, 0.354, "36%"),
        (0.3541, 0.354, "36%"),
        (0.002, 0.5, "<1%"),
    ],
)
def test_rounding_never_carries_a_probability_over_the_threshold(probability: float, limit: float, text: str):
    assert percent(probability, limit=limit) == text


def test_lengths_have_no_needless_zeros():
    assert [css_percent(fraction) for fraction in (0, 0.125, 1 / 3, 1)] == ["0%", "12.5%", "33.333%", "100%"]


def test_values_are_escaped():
    assert "<p>&lt;b&gt;x&lt;/b&gt;</p>" in render("about_models", models=[], error_rates=["<b>x</b>"])


def test_a_missing_value_is_an_error():
    with pytest.raises(UndefinedError, match="'error_rates' is undefined"):
        render("about_models", models=[])
