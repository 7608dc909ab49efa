"""How many gateways there should be: decoding photos takes CPU, and requests alone do not tell how much.

The networks need no policy of their own: each of their requests is one photo or one series.
"""

from typing import Any

import psutil
from ray.serve.config import AutoscalingContext

CORES = "cores"
"""What every replica reports: the cores that it keeps busy."""


class CpuMeter:
    """Tells how many cores this process kept busy since it was asked last."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._process.cpu_percent()  # the first answer is always 0

    def __call__(self) -> dict[str, float]:
        """Return what Serve collects from a replica's ``record_autoscaling_stats``."""
        return {CORES: self._process.cpu_percent() / 100}


class ByCpu:
    """As many replicas as keep each at ``target_cores``; Serve adds the bounds and the delays.

    A config file names it under ``autoscaling_config``, as ``serve/gpu.yaml`` does.

    Args:
        target_cores: cores that a replica should keep busy.
    """

    def __init__(self, *, target_cores: float) -> None:
        if target_cores <= 0:
            raise ValueError(f"target_cores is {target_cores}, must be positive")
        self._target_cores = target_cores

    def __call__(self, context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
        """Return the replicas that are wanted, as a fraction, and no state."""
        busy = (context.aggregated_metrics or {}).get(CORES, {})
        if not busy:  # just started
            return float(context.target_num_replicas), {}
        # a replica that has not reported yet counts as the others
        cores = sum(busy.values()) / len(busy) * max(1, context.current_num_replicas)
        return cores / self._target_cores, {}
