"""Content of the evaluation report of a progress checkpoint."""

from pathlib import Path
from typing import ClassVar

from models.face.metrics import SamePersonMetrics
from models.progress.metrics import BaselineMetrics, NoChangeMetrics, ProgressMetrics, VerdictMetrics
from train.progress.baselines import MODEL_NAMES, NO_CHANGE_NAMES, NOT_FITTED, RENDERER_NAMES
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
    thresholds: dict[str, float]
    metrics: ProgressMetrics
    baselines: dict[str, BaselineMetrics]
    """By name of the model; empty without a training set."""
    model_names: dict[str, str] = MODEL_NAMES
    not_fitted: str = NOT_FITTED
    no_change: dict[str, NoChangeMetrics]
    """By kind of no-change control."""
    verdicts: dict[str, VerdictMetrics]
    """At the thresholds of the checkpoint, and cross-fitted by person."""
    renderer_names: dict[str, str] = RENDERER_NAMES
    same_person: SamePersonMetrics | None
    """Detection of different people; None without a face descriptor."""
    no_change_names: dict[str, str] = NO_CHANGE_NAMES
