"""Metrics of a face descriptor."""

from models.metrics import Metric, MetricsModel, TaskMetrics


class SamePersonRates(MetricsModel):
    """Rates at a threshold that was fitted without the people of each series."""

    noticed: Metric
    """Share of series of two people that are noticed; the bootstrap resamples pairs of people."""
    false_alarms: Metric
    """Share of series of one person in which another is seen; the bootstrap resamples people."""
    false_alarms_by_person: dict[str, float]


class SamePersonMetrics(TaskMetrics):
    """Metrics of the same-person check."""

    split: str
    num_people: int
    num_pairs: int
    """Pairs of people."""
    num_photos: int
    rates: dict[str, SamePersonRates]
    """By kind of series: as taken, and with altered photos."""

    @property
    def is_calibrated(self) -> bool:
        """Whether the threshold was fitted on these people."""
        return True
