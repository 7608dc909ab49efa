"""Numbers in messages about a limit: rounded to the same side of the limit on which the value is."""

import math
from collections.abc import Callable


def ceil_text(value: float, decimals: int = 0) -> str:
    """Return a value above a limit, rounded up: 50.04 as "50.1" beside a limit of 50."""
    return _text(math.ceil, value, decimals)


def floor_text(value: float, decimals: int = 0) -> str:
    """Return a value below a limit, rounded down: 15.7 as "15" beside a limit of 16."""
    return _text(math.floor, value, decimals)


def _text(round_to_int: Callable[[float], int], value: float, decimals: int) -> str:
    if not math.isfinite(value):
        return f"{value:g}"
    step = round(value * 10**decimals, 6)  # 100 * 0.55 is a little more than 55
    return f"{round_to_int(step) / 10**decimals:.{decimals}f}"
