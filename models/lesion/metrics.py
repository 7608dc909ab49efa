"""Metrics of a lesion checkpoint."""

from pydantic import Field

from models.metrics import ChanceError, Metric, MetricsModel, TaskMetrics, omitted_if_empty


class DiagnosisMetrics(MetricsModel):
    """Metrics of the diagnosis head."""

    num_diagnoses: int | None = omitted_if_empty()
    """Diagnoses that occur among the photos."""
    balanced_accuracy: Metric
    recall: dict[str, Metric]
    """By diagnosis."""
    macro_auroc: Metric
    ece: Metric = Field(
        default=Metric(), description="expected calibration error of the most probable diagnosis"
    )
    ece_if_calibrated: ChanceError = ChanceError()


class RiskMetrics(MetricsModel):
    """Metrics of the risk head, at the released threshold where they need one."""

    balanced_accuracy: Metric
    sensitivity: Metric
    specificity: Metric
    auroc: Metric
    specificity_at_95_sensitivity: Metric = Metric()
    threshold_at_95_sensitivity: Metric = Metric()
    ece: Metric = Field(default=Metric(), description="of the probability of malignancy")
    ece_of_predicted_side: Metric = Field(
        default=Metric(), description="of the more probable side; errors on both sides of 0.5 cancel out"
    )
    ece_if_calibrated: ChanceError = ChanceError()


class CalibrationMetrics(MetricsModel):
    """Fitted calibration with the calibration errors before it and, cross-fitted, after it."""

    diagnosis_temperature: float
    risk_temperature: float
    risk_shift: float
    risk_ece_before: Metric
    risk_ece_after: Metric
    diagnosis_ece_before: Metric
    diagnosis_ece_after: Metric


class Int8Metrics(MetricsModel):
    """Differences between int8 and float32 on the validation set, by the worst int8 engine."""

    engine: str
    n: int
    macro_auroc_difference: float | None
    """Int8 minus float32; None where AUROC is not defined."""
    changed_share: float
    """Share of photos with another first diagnosis."""
    balanced_accuracy_difference: Metric
    largest_difference: float
    """Of any probability."""
    changed_verdicts: dict[str, float] = omitted_if_empty({})
    """By source: share of photos with another verdict."""
    passed: bool
    engines: dict[str, bool] = omitted_if_empty({})
    """Whether each engine of the releasing machine passed."""


class SourceMetrics(MetricsModel):
    """Metrics of the photos of one source, at the released threshold."""

    n: int
    num_malignant: int
    auroc: Metric
    """Of malignancy."""
    sensitivity: Metric
    specificity: Metric
    balanced_accuracy: Metric
    """Of the diagnoses that occur."""
    risk_ece: Metric


class LesionVerdictMetrics(MetricsModel):
    """Errors of the three-way verdict by the whole pipeline: localizer, gate and network."""

    n: int
    num_malignant: int
    called_benign: Metric
    """Share of the malignant photos."""
    called_malignant: Metric
    """Share of the benign photos."""
    inconclusive: Metric
    """Share of all photos, for any reason."""
    not_usable: Metric
    """Share of all photos that the gate rejects."""


class CoverageMetrics(MetricsModel):
    """Error rate of the verdicts at one width of the inconclusive range."""

    coverage: float
    """Share of the photos with a verdict benign or malignant."""
    called_benign: float | None
    """Share of all malignant photos."""
    called_malignant: float | None
    """Share of all benign photos."""


class FoldMetrics(MetricsModel):
    """Metrics of one fold of a cross-validation, without intervals."""

    balanced_accuracy: float | None
    macro_auroc: float | None
    malignant_auroc: float | None
    sensitivity: float | None
    specificity: float | None


class LesionMetrics(TaskMetrics):
    """Metrics of a lesion checkpoint."""

    split: str = omitted_if_empty("")
    """Description of the evaluated photos."""
    n: int
    """Photos."""
    num_groups: int | None = omitted_if_empty()
    """Patients or lesions; the bootstrap resamples these."""
    diagnosis: DiagnosisMetrics
    risk: RiskMetrics
    folds: dict[str, FoldMetrics] = omitted_if_empty({})
    calibration: CalibrationMetrics | None = omitted_if_empty()
    largest_difference_from_training: float | None = omitted_if_empty()
    """In probability, between the checkpoint and the calibrated network that it was made from."""
    int8: Int8Metrics | None = omitted_if_empty()
    by_source: dict[str, SourceMetrics] = omitted_if_empty({})
    """On the validation set, by the engine that serves."""
    test_by_source: dict[str, SourceMetrics] = omitted_if_empty({})
    """On the test set, by the engine that serves."""
    silent_misses: dict[str, Metric] = omitted_if_empty({})
    """By degradation: share of the detected malignant test photos that it turns benign."""
    degraded_inconclusive: dict[str, Metric] = omitted_if_empty({})
    """By degradation: share of the same photos that it turns inconclusive, for any reason."""
    verdicts: dict[str, LesionVerdictMetrics] = omitted_if_empty({})
    """On the test set by source, and over the sources together."""
    verdicts_without_lesion: dict[str, Metric] = omitted_if_empty({})
    """By kind of test picture without a lesion: share with a verdict benign or malignant."""
    error_bounds: dict[str, float] = omitted_if_empty({})
    """Upper confidence bounds of ``called_benign`` and ``called_malignant`` on the validation set."""
    risk_by_coverage: tuple[CoverageMetrics, ...] = ()
    """On the test set, from the narrowest to the widest inconclusive range."""

    @property
    def is_calibrated(self) -> bool:
        """Whether the outputs were calibrated on the validation set."""
        return self.calibration is not None

    def summary(self) -> dict[str, Metric]:
        """Return the main metrics on the validation set and verdict errors on the test set."""
        found = {
            "balanced accuracy": self.diagnosis.balanced_accuracy,
            "AUROC": self.risk.auroc,
            "macro AUROC of the diagnoses": self.diagnosis.macro_auroc,
        }
        found = {name: metric.model_copy(update={"n": self.n}) for name, metric in found.items()}
        found |= {"sensitivity": self.risk.sensitivity, "specificity": self.risk.specificity}
        if (test := self.verdicts.get("all")) is not None:
            found |= {
                "test: malignant called benign": test.called_benign,
                "test: benign called malignant": test.called_malignant,
                "test: inconclusive": test.inconclusive,
                "test: not usable": test.not_usable,
            }
        return found
