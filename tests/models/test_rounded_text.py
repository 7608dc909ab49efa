"""Numbers beside a limit never look as if they kept it."""

import math

from hypothesis import given
from hypothesis import strategies as st

from models.rounded_text import ceil_text, floor_text

DECIMALS = st.integers(0, 2)


@given(st.integers(1, 10_000), st.floats(1e-5, 1000), DECIMALS)
def test_a_value_above_a_whole_limit_is_written_above_it(limit: int, more: float, decimals: int):
    assert float(ceil_text(limit + more, decimals)) > limit


@given(st.integers(1, 10_000), st.floats(1e-5, 1), DECIMALS)
def test_a_value_below_a_whole_limit_is_written_below_it(limit: int, less: float, decimals: int):
    assert float(floor_text(limit - less, decimals)) < limit


def test_values_are_rounded_to_the_nearest_step_in_their_direction():
    assert (ceil_text(50.04, 1), ceil_text(55.0), floor_text(15.7), floor_text(0.299, 2)) == (
        *("50.1", "55", "15", "0.29"),
    )
    assert ceil_text(100 * 0.55) == "55"
    assert floor_text(math.nan, 2) == "nan"
