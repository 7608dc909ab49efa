"""Autoscaling by load, where the number of requests does not measure it.

A gateway's load is the CPU that it uses for decoding. A call to the lesion network carries one to eight
photos. A request to the other models is always one photo or one series, and Serve's own policy fits them.
"""

from typing import Any, Literal

import psutil
from ray.serve.config import AutoscalingContext

Load = Literal["cores", "photos"]
"""Load that a replica reports: mean number of busy cores, or of photos in progress."""


class CpuMeter:
    """Measure the cores that this process used since the last call."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._process.cpu_percent()  # the first result is always 0

    def __call__(self) -> dict[Load, float]:
        """Return the load for a replica's ``record_autoscaling_stats``."""
        return {"cores": self._process.cpu_percent() / 100}


class TargetLoadPolicy:
    """Set the number of replicas so that each has the load ``target``; Serve adds limits and delays.

    A Serve config file names it under ``autoscaling_config`` (serve/gpu.yaml).

    Args:
        load: which load the replicas report.
        target: load of one replica.
    """

    def __init__(self, *, load: Load, target: float) -> None:
        if target <= 0:
            raise ValueError(f"target is {target}, must be positive")
        self._load = load
        self._target = target

    def __call__(self, context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
        """Return the wanted number of replicas, not rounded, and no state."""
        reported = (context.aggregated_metrics or {}).get(self._load, {})
        if not reported:  # just started
            return float(context.target_num_replicas), {}
        # A replica that has not reported yet counts with the mean of the others.
        load = sum(reported.values()) / len(reported) * max(1, context.current_num_replicas)
        return load / self._target, {}
