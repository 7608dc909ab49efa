"""Breakdowns of predictions for the lesion report: by threshold, diagnosis, probability and subgroup.

Axes: B photo, K diagnosis.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from sklearn.metrics import roc_curve

from models.metrics import Metric
from train import metrics
from train.bootstrap import DECIMALS, Resamples
from train.data.manifest import Row
from train.lesion.report import ConfusionRow, Subgroup
from train.report.sections import ReliabilityBin, RocBand, RocCurve

FEW_PHOTOS = 30
FEW_OF_A_GROUP = 5
"""A subgroup with fewer photos, or fewer malignant or benign ones, is marked as unreliable."""
AGE_BANDS = ((0, 30, "under 30"), (30, 45, "30 to 44"), (45, 60, "45 to 59"), (60, 75, "60 to 74"))
OLDEST = "75 and over"
NOT_RECORDED = "not recorded"
MAX_SOURCES = 20
"""Photos in more folders than this are probably in a folder for each patient."""
FALSE_POSITIVE_RATE_K = np.linspace(0, 1, 101)
MAX_CURVE_POINTS = 400


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Hold predicted probabilities of photos with their ground truth."""

    rows: list[Row]
    malignant_B: np.ndarray
    """0 or 1."""
    truth_B: np.ndarray
    """Column of the diagnosis."""
    malignant_probability_B: np.ndarray
    probability_BK: np.ndarray
    ranking_weight_K: np.ndarray
    group_B: list[str]
    """Patient or lesion."""
    source_B: list[str]
    """Name of the photo's folder."""

    def ranked_first(self) -> np.ndarray:
        """Return the column of the diagnosis that is ranked first, (B,)."""
        return (self.probability_BK * self.ranking_weight_K).argmax(1)


def auroc_by_diagnosis(predictions: Predictions, labels: Sequence[str]) -> dict[str, Metric]:
    """Return the one-versus-rest AUROC of every diagnosis."""
    resamples = Resamples(predictions.group_B, predictions.truth_B)
    return {
        label: resamples.metric(
            metrics.auroc(predictions.truth_B == column, predictions.probability_BK[:, column])
        )
        for column, label in enumerate(labels)
    }


def roc_with_band(predictions: Predictions) -> RocCurve | None:
    """Return the ROC curve of the risk head, or None for one risk group."""
    if len(np.unique(predictions.malignant_B)) < 2:
        return None
    fpr, tpr, thresholds = roc_curve(predictions.malignant_B, predictions.malignant_probability_B)
    kept = np.unique(np.linspace(0, len(fpr) - 1, MAX_CURVE_POINTS).astype(int))
    resamples = Resamples(predictions.group_B, predictions.malignant_B)
    band = resamples.metrics(
        metrics.roc_sensitivities(
            predictions.malignant_B, predictions.malignant_probability_B, FALSE_POSITIVE_RATE_K
        )
    )
    return RocCurve(
        false_positive_rate=fpr[kept].round(DECIMALS).tolist(),
        sensitivity=tpr[kept].round(DECIMALS).tolist(),
        thresholds=np.minimum(thresholds[kept], 1).round(DECIMALS).tolist(),
        band=RocBand(
            false_positive_rate=FALSE_POSITIVE_RATE_K.round(2).tolist(),
            low=tuple(point.low for point in band),
            high=tuple(point.high for point in band),
        ),
    )


def confusion_matrix(predictions: Predictions, labels: Sequence[str]) -> tuple[ConfusionRow, ...]:
    """Return a row for each true diagnosis with counts and shares of the predicted ones."""
    predicted_B = predictions.ranked_first()
    rows: list[ConfusionRow] = []
    for column, label in enumerate(labels):
        members = np.flatnonzero(predictions.truth_B == column)
        counts = np.bincount(predicted_B[members], minlength=len(labels)).tolist()
        groups = [predictions.group_B[index] for index in members]
        shares = [Metric()] * len(labels)
        if len(members):
            shares = Resamples(groups, np.zeros(len(members), int)).metrics(
                metrics.predicted_shares(predicted_B[members], len(labels))
            )
        rows.append(ConfusionRow(label=label, n=len(members), counts=counts, shares=tuple(shares)))
    return tuple(rows)


def reliability_diagrams(
    predictions: Predictions,
) -> dict[Literal["diagnosis", "risk"], tuple[ReliabilityBin, ...]]:
    """Return the reliability diagrams of the most probable diagnosis and of the probability of malignancy."""
    correct_B = predictions.probability_BK.argmax(1) == predictions.truth_B
    by_diagnosis = Resamples(predictions.group_B, predictions.truth_B)
    by_risk = Resamples(predictions.group_B, predictions.malignant_B)
    return {
        "diagnosis": _bins(predictions.probability_BK.max(1), correct_B, by_diagnosis),
        "risk": _bins(predictions.malignant_probability_B, predictions.malignant_B, by_risk),
    }


def _bins(
    probability_B: np.ndarray, outcome_B: np.ndarray, resamples: Resamples
) -> tuple[ReliabilityBin, ...]:
    bin_B = metrics.bin_of(probability_B)
    observed_K = resamples.metrics(metrics.observed_frequencies(probability_B, outcome_B))
    bins: list[ReliabilityBin] = []
    for number, observed in enumerate(observed_K):
        members_B = bin_B == number
        mean = round(float(probability_B[members_B].mean()), DECIMALS) if members_B.any() else None
        bins.append(ReliabilityBin(n=int(members_B.sum()), mean_probability=mean, observed=observed))
    return tuple(bins)


def _age_band(row: Row) -> str:
    if row.age_years is None:
        return ""
    return next((name for low, high, name in AGE_BANDS if low <= row.age_years < high), OLDEST)


SUBGROUPS: dict[str, Callable[[Row], str]] = {
    "skin type": lambda row: row.skin_type,
    "age": _age_band,
    "sex": lambda row: row.sex,
    "site": lambda row: row.site,
}

Bands = dict[str, np.ndarray]
"""Positions of the photos by name of the subgroup."""


def subgroup_bands(rows: Sequence[Row], source_B: Sequence[str]) -> dict[str, Bands]:
    """Return the subgroups by source, skin type, age, sex and site, "not recorded" last.

    The source is left out if all photos are of one folder, or of more than ``MAX_SOURCES``.
    """
    bands = {name: _bands([of(row) for row in rows]) for name, of in SUBGROUPS.items()}
    if 2 <= len(set(source_B)) <= MAX_SOURCES:
        return {"source": _bands(source_B), **bands}
    return bands


def _bands(name_B: Sequence[str]) -> Bands:
    names_B = np.array([name or NOT_RECORDED for name in name_B])
    order = {name: rank for rank, (_, _, name) in enumerate(AGE_BANDS)} | {OLDEST: len(AGE_BANDS)}
    names = sorted(set(names_B.tolist()), key=lambda name: (name == NOT_RECORDED, order.get(name, 99), name))
    return {name: np.flatnonzero(names_B == name) for name in names}


def is_few(num_malignant: int, num_photos: int) -> bool:
    """Return whether a subgroup is too small for reliable metrics."""
    return num_photos < FEW_PHOTOS or min(num_malignant, num_photos - num_malignant) < FEW_OF_A_GROUP


def subgroup_metrics(predictions: Predictions, threshold: float) -> dict[str, tuple[Subgroup, ...]]:
    """Return the metrics of every subgroup of ``subgroup_bands``."""
    return {
        title: tuple(_subgroup(predictions, name, index, threshold) for name, index in bands.items())
        for title, bands in subgroup_bands(predictions.rows, predictions.source_B).items()
    }


def _subgroup(predictions: Predictions, name: str, index: np.ndarray, threshold: float) -> Subgroup:
    malignant_B, truth_B = predictions.malignant_B[index], predictions.truth_B[index]
    probability_B = predictions.malignant_probability_B[index]
    first_B = predictions.ranked_first()[index]
    groups = [predictions.group_B[i] for i in index]
    by_risk, by_diagnosis = Resamples(groups, malignant_B), Resamples(groups, truth_B)
    predicted_B = (probability_B >= threshold).astype(int)
    specificity, sensitivity = by_risk.metrics(metrics.class_recalls(malignant_B, predicted_B, 2))
    num_malignant = int(malignant_B.sum())
    return Subgroup(
        name=name,
        n=len(index),
        num_malignant=num_malignant,
        few=is_few(num_malignant, len(index)),
        auroc=by_risk.metric(metrics.auroc(malignant_B, probability_B)),
        sensitivity=sensitivity,
        specificity=specificity,
        balanced_accuracy=by_diagnosis.metric(
            metrics.balanced_accuracy(truth_B, first_B, predictions.probability_BK.shape[1])
        ),
        num_diagnoses=len(np.unique(truth_B)),
        risk_ece=by_risk.metric(metrics.calibration_error(probability_B, malignant_B)),
    )
