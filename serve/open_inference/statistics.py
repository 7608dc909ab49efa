"""Statistics of the models in one gateway, as Triton's statistics extension reports them."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from serve.runtime.model_catalog import CatalogEntry

_UNMEASURED = ("queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")


@dataclass
class _Counts:
    num_photos: int = 0
    num_requests: int = 0
    last_ms: int = 0
    success_ns: int = 0
    num_failed: int = 0
    fail_ns: int = 0


class Measurement:
    """Hold the model and the number of photos of one request in progress."""

    def __init__(self, entry: CatalogEntry) -> None:
        self.entry = entry
        self.num_photos = 0


class ModelStatistics:
    """Count requests, photos and time by name and version of the model."""

    def __init__(self) -> None:
        self._counts: defaultdict[str, _Counts] = defaultdict(_Counts)

    @contextmanager
    def measure(self, entry: CatalogEntry) -> Iterator[Measurement]:
        """Count one request; the caller sets model and photos of the ``Measurement``."""
        measurement = Measurement(entry)
        start = time.perf_counter_ns()
        try:
            yield measurement
        except BaseException:
            counts = self._counts[measurement.entry.selector]
            counts.num_failed += 1
            counts.fail_ns += time.perf_counter_ns() - start
            raise
        counts = self._counts[measurement.entry.selector]
        counts.num_requests += 1
        counts.num_photos += measurement.num_photos
        counts.success_ns += time.perf_counter_ns() - start
        counts.last_ms = int(time.time() * 1000)

    def describe(self, entry: CatalogEntry) -> dict[str, Any]:
        """Return the statistics of a model since the start of the gateway; times in ns."""
        counts = self._counts[entry.selector]
        return {
            "name": entry.name,
            "version": entry.version,
            "last_inference": counts.last_ms,
            "inference_count": counts.num_photos,
            "execution_count": counts.num_requests,
            "inference_stats": {
                "success": {"count": counts.num_requests, "ns": counts.success_ns},
                "fail": {"count": counts.num_failed, "ns": counts.fail_ns},
                **{name: {"count": 0, "ns": 0} for name in _UNMEASURED},
            },
            "batch_stats": [],
        }
