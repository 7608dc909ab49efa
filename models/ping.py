"""Check of the result of an engine's ping; importable without torch."""

import numpy as np


def check_finite(result: np.ndarray) -> None:
    """Check the result of an engine's ping.

    Raises:
        RuntimeError: a value is infinite or not a number.
    """
    if not np.isfinite(result).all():
        raise RuntimeError(
            f"the engine returned {result}, a finite number is needed; load the checkpoint again"
        )
