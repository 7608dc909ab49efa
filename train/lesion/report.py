"""Content and plots of the evaluation report of a lesion checkpoint."""

from pathlib import Path
from typing import ClassVar, Literal

from models.diagnoses import Group
from models.lesion.metrics import CalibrationMetrics, LesionMetrics
from models.metrics import Metric, MetricsModel
from train.lesion.metrics import TARGET_SENSITIVITY
from train.report.html_report import Report
from train.report.plots import reliability_plot, roc_plot
from train.report.sections import ReliabilityBin, RocCurve


class ConfusionRow(MetricsModel):
    """Count the predicted diagnoses of the photos of one true diagnosis."""

    label: str
    n: int
    counts: tuple[int, ...]
    """By predicted diagnosis, in the order of the labels."""
    shares: tuple[Metric, ...]


class Subgroup(MetricsModel):
    """Hold the metrics of one subgroup."""

    name: str
    n: int
    num_malignant: int
    few: bool
    """Too few photos, or too few malignant or benign ones, for reliable metrics."""
    auroc: Metric
    sensitivity: Metric
    specificity: Metric
    balanced_accuracy: Metric
    num_diagnoses: int


class LesionReport(Report):
    """Hold the evaluation of a lesion checkpoint, overall and by subgroup."""

    template: ClassVar[Path] = Path(__file__).with_name("report.html.jinja")
    unit: ClassVar[str] = "photos"

    kind: str = "lesion"
    left_out: dict[str, int]
    """Number of photos left out, by reason."""
    threshold: float
    groups: dict[str, Group]
    """Of each diagnosis."""
    metrics: LesionMetrics
    auroc_by_diagnosis: dict[str, Metric]
    recalibrated_here: CalibrationMetrics
    """Calibration fitted on these photos and cross-fitted errors."""
    roc: RocCurve | None
    """None if all photos are of one risk group."""
    confusion: tuple[ConfusionRow, ...]
    reliability: dict[Literal["diagnosis", "risk"], tuple[ReliabilityBin, ...]]
    subgroups: dict[str, tuple[Subgroup, ...]]

    def plots(self) -> dict[str, str]:
        """Return the ROC curve and the reliability diagrams of both heads, SVG."""
        plots = {
            "diagnosis": reliability_plot(
                self.reliability["diagnosis"],
                predicted="probability of the first diagnosis",
                observed="share of photos where it is correct",
            ),
            "risk": reliability_plot(
                self.reliability["risk"],
                predicted="probability of malignancy",
                observed="share of photos that are malignant",
            ),
        }
        if self.roc is not None:
            plots["roc"] = roc_plot(self.roc, self._operating_points())
        return plots

    def _operating_points(self) -> list[tuple[str, float, float]]:
        risk = self.metrics.risk
        points = (
            (f"threshold {self.threshold:.3g}, as released", risk.specificity.value, risk.sensitivity.value),
            (
                f"threshold {risk.threshold_at_95_sensitivity.value:.3g}, for 95% sensitivity",
                risk.specificity_at_95_sensitivity.value,
                TARGET_SENSITIVITY,
            ),
        )
        return [
            (name, 1 - specificity, sensitivity)
            for name, specificity, sensitivity in points
            if specificity is not None and sensitivity is not None
        ]
