"""Content of the evaluation report of a progress checkpoint."""

from pathlib import Path
from typing import ClassVar

from models.progress.metrics import BaselineMetrics, NoChangeMetrics, ProgressMetrics
from train.progress.baselines import MODEL_NAMES, NO_CHANGE_NAMES, NOT_FITTED
from train.report.html_report import Report


class ProgressReport(Report):
    """Hold the evaluation of a progress checkpoint."""

    template: ClassVar[Path] = Path(__file__).with_name("report.html.jinja")
    unit: ClassVar[str] = "series"

    kind: str = "progress"
    num_without_verdict: int
    """Series whose label is within ``unclear``."""
    unclear: tuple[float, float]
    real: bool
    """Labelled by doctors' notes, not synthetic."""
    threshold: float
    metrics: ProgressMetrics
    baselines: dict[str, BaselineMetrics]
    """By name of the model; empty without a training set."""
    model_names: dict[str, str] = MODEL_NAMES
    not_fitted: str = NOT_FITTED
    no_change: dict[str, NoChangeMetrics]
    """By kind of no-change control."""
    no_change_names: dict[str, str] = NO_CHANGE_NAMES
