"""How many replicas there should be, where requests alone do not tell.

Decoding photos in a gateway takes CPU; and a call to the lesion network carries one photo or eight. The other
networks need no policy of their own: each of their requests is one photo or one series.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import psutil
from ray.serve.config import AutoscalingContext

Load = Literal["cores", "photos"]
"""What a replica reports: the cores that it keeps busy, or the photos that it holds, on average."""


class CpuMeter:
    """Tells how many cores this process kept busy since it was asked last."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._process.cpu_percent()  # the first answer is always 0

    def __call__(self) -> dict[Load, float]:
        """Return what Serve collects from a replica's ``record_autoscaling_stats``."""
        return {"cores": self._process.cpu_percent() / 100}


class PhotoMeter:
    """Counts the photos that a replica holds; tells how many they were on average since it was asked last."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.number = 0
        """How many there are now."""
        self._photo_s = 0.0
        self._clock = clock
        self._asked_at = self._changed_at = clock()

    @contextmanager
    def hold(self, number: int) -> Iterator[None]:
        """Count ``number`` photos as long as the work takes."""
        self._change(number)
        try:
            yield
        finally:
            self._change(-number)

    def __call__(self) -> dict[Load, float]:
        """Return what Serve collects from a replica's ``record_autoscaling_stats``."""
        self._change(0)
        passed_s = self._changed_at - self._asked_at
        mean = self._photo_s / passed_s if passed_s > 0 else float(self.number)
        self._photo_s, self._asked_at = 0.0, self._changed_at
        return {"photos": mean}

    def _change(self, number: int) -> None:
        now = self._clock()
        self._photo_s += self.number * (now - self._changed_at)
        self._changed_at = now
        self.number += number


class TargetLoadPolicy:
    """As many replicas as keep each at ``target``; Serve adds the bounds and the delays.

    A config file names it under ``autoscaling_config``, as ``serve/gpu.yaml`` does.

    Args:
        load: what the replicas report.
        target: how much of it one replica should have.
    """

    def __init__(self, *, load: Load, target: float) -> None:
        if target <= 0:
            raise ValueError(f"target is {target}, must be positive")
        self._load = load
        self._target = target

    def __call__(self, context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
        """Return the replicas that are wanted, as a fraction, and no state."""
        reported = (context.aggregated_metrics or {}).get(self._load, {})
        if not reported:  # just started
            return float(context.target_num_replicas), {}
        # a replica that has not reported yet counts as the others
        load = sum(reported.values()) / len(reported) * max(1, context.current_num_replicas)
        return load / self._target, {}
