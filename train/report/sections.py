"""Curves of an evaluation report: the types that the plots draw."""

from models.metrics import Metric, MetricsModel


class RocBand(MetricsModel):
    """Hold the 95% band of a ROC curve."""

    false_positive_rate: tuple[float, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


class RocCurve(MetricsModel):
    """Hold a ROC curve, a point for each threshold."""

    false_positive_rate: tuple[float, ...]
    sensitivity: tuple[float, ...]
    thresholds: tuple[float, ...]
    band: RocBand


class ReliabilityBin(MetricsModel):
    """Hold one bin of a reliability diagram."""

    n: int
    mean_probability: float | None
    """None in an empty bin."""
    observed: Metric
    """Frequency of the outcome."""
