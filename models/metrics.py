"""Types of metrics with 95% intervals, for ``meta.json``, ``GET /v1/models`` and the reports.

Pydantic only, so that ``serve.schemas`` can use them for the page.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def omitted_if_empty(default: Any = None) -> Any:
    """Return a field that the JSON omits if it is None, an empty text or an empty mapping."""
    return Field(default=default, exclude_if=lambda value: value is None or value in ("", {}))


class MetricsModel(BaseModel):
    """Group metrics; fields that this code does not know are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, serialize_by_alias=True)


class Metric(MetricsModel):
    """A metric with its 95% interval."""

    value: float | None = Field(default=None, description="null where the examples do not define it")
    low: float | None = None
    high: float | None = None
    n: int | None = omitted_if_empty()

    def with_interval(self) -> str:
        """Return the metric as text, such as ``0.470 [0.420, 0.520]``."""
        if self.value is None or self.low is None or self.high is None:
            return "not defined on these photos"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


HEADLINE_METRICS = ("balanced accuracy", "AUROC")
"""Names in ``TaskMetrics.summary`` of every evaluated checkpoint."""


class TaskMetrics(MetricsModel):
    """Metrics of one checkpoint: a subclass for each task, this class before evaluation."""

    @property
    def is_calibrated(self) -> bool:
        """Whether the outputs were calibrated on the validation set."""
        return False

    def summary(self) -> dict[str, Metric]:
        """Return the main metrics by name; those of ``HEADLINE_METRICS`` first, with n."""
        return {}


class ChanceError(MetricsModel):
    """Calibration error that an exactly calibrated network shows by chance."""

    mean: float | None = None
    high: float | None = Field(default=None, description="95th percentile")
