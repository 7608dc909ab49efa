"""Content and plots of the evaluation report of a lesion checkpoint."""

from pathlib import Path
from typing import ClassVar, Literal

from models.diagnoses import Group
from models.lesion.metrics import CalibrationMetrics, CoverageMetrics, LesionMetrics, LesionVerdictMetrics
from models.metrics import Metric, MetricsModel
from train.lesion.metrics import TARGET_SENSITIVITY
from train.report.html_report import Report
from train.report.plots import coverage_plot, reliability_plot, roc_plot, shares_plot
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
    risk_ece: Metric
    """Calibration error of the probability of malignancy."""


class VerdictSubgroup(MetricsModel):
    """Hold the verdicts on one subgroup."""

    name: str
    few: bool
    verdicts: LesionVerdictMetrics


class ReasonShare(MetricsModel):
    """Hold the share of the photos whose answer has one reason."""

    code: str
    effect: Literal["not usable", "inconclusive", "beside the verdict"]
    share: Metric


class DegradationShares(MetricsModel):
    """Hold the verdicts on one degradation of the malignant photos that are detected without it."""

    name: str
    judgeable: bool
    """Whether a dermatologist could still see the lesion."""
    malignant: Metric
    inconclusive: Metric
    """For any reason."""
    benign: Metric
    """Silent misses."""


class VerdictReport(MetricsModel):
    """Hold the verdicts as served: localizer, gate, network and thresholds."""

    has_gate: bool
    benign_threshold: float
    """Probability of malignancy below which a usable photo is benign."""
    malignant_threshold: float
    overall: LesionVerdictMetrics
    subgroups: dict[str, tuple[VerdictSubgroup, ...]]
    reasons: tuple[ReasonShare, ...]
    risk_by_coverage: tuple[CoverageMetrics, ...]
    """Empty with one threshold."""
    degradations: tuple[DegradationShares, ...]
    """Empty if not measured; the last one is all of them together."""
    without_lesion: dict[str, Metric]
    """By kind of picture without a lesion: share with a verdict; empty if not measured."""


class LesionReport(Report):
    """Hold the evaluation of a lesion checkpoint, overall and by subgroup."""

    template: ClassVar[Path] = Path(__file__).with_name("report.html.jinja")
    unit: ClassVar[str] = "photos"

    kind: str = "lesion"
    engine: str
    """Inference engine."""
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
    verdicts: VerdictReport

    def plots(self) -> dict[str, str]:
        """Return the ROC curve, the reliability diagrams and the plots of the verdicts, SVG."""
        plots = {
            "diagnosis": reliability_plot(
                self.reliability["diagnosis"],
                predicted="probability of the most probable diagnosis",
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
        return plots | self._verdict_plots()

    def _verdict_plots(self) -> dict[str, str]:
        verdicts, plots = self.verdicts, {}
        curves = {
            "malignant photos called benign": [one.called_benign for one in verdicts.risk_by_coverage],
            "benign photos called malignant": [one.called_malignant for one in verdicts.risk_by_coverage],
        }
        released = (verdicts.overall.called_benign.value, verdicts.overall.called_malignant.value)
        if verdicts.risk_by_coverage and verdicts.overall.inconclusive.value is not None:
            plots["coverage"] = coverage_plot(
                [one.coverage for one in verdicts.risk_by_coverage],
                curves,
                released=(1 - verdicts.overall.inconclusive.value, released),
            )
        if verdicts.degradations:
            plots["degradations"] = shares_plot(
                [one.name for one in verdicts.degradations],
                {
                    "benign: a silent miss": [one.benign.value for one in verdicts.degradations],
                    "inconclusive": [one.inconclusive.value for one in verdicts.degradations],
                    "malignant": [one.malignant.value for one in verdicts.degradations],
                },
            )
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
