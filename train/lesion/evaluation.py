"""Evaluate a lesion checkpoint on labelled photos, overall and by subgroup.

Axes: B photo, K diagnosis.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from models.diagnoses import UnknownDiagnosisError, find_diagnosis
from models.lesion.engines import LesionEngine
from models.lesion.metrics import CalibrationMetrics
from train.data.manifest import Row
from train.data.split import groups_of
from train.image_cache import decoded_photos
from train.lesion.breakdowns import (
    Predictions,
    auroc_by_diagnosis,
    confusion_matrix,
    reliability_diagrams,
    roc_with_band,
    subgroup_metrics,
)
from train.lesion.calibration import MALIGNANT, LabelledLogits, calibration_metrics, fit_calibration
from train.lesion.metrics import lesion_metrics
from train.lesion.report import LesionReport
from train.task import EvaluationError

CHUNK_SIZE = 256
"""Photos decoded at a time."""
BATCH_SIZE = 64


def evaluate_lesion(engine: LesionEngine, rows: Sequence[Row]) -> LesionReport:
    """Evaluate an engine on the photos whose diagnosis it was trained on.

    Raises:
        EvaluationError: no photo has such a diagnosis, or none can be read.
    """
    known, left_out = _known_rows(engine, rows)
    predictions, num_unreadable = _predict(engine, known)
    if num_unreadable:
        left_out["the photo cannot be read"] = num_unreadable
    labels, threshold = engine.meta.labels, engine.meta.thresholds["malignant"]
    report = LesionReport(
        n=len(predictions.rows),
        left_out=left_out,
        threshold=threshold,
        groups=dict(engine.meta.groups),
        metrics=lesion_metrics(
            malignant_B=predictions.malignant_B,
            diagnosis_B=predictions.truth_B,
            malignant_probability_B=predictions.malignant_probability_B,
            probability_BK=predictions.probability_BK,
            labels=labels,
            threshold=threshold,
            group_B=predictions.group_B,
        ),
        auroc_by_diagnosis=auroc_by_diagnosis(predictions, labels),
        recalibrated_here=_recalibrated(predictions),
        roc=roc_with_band(predictions),
        confusion=confusion_matrix(predictions, labels),
        reliability=reliability_diagrams(predictions),
        subgroups=subgroup_metrics(predictions, threshold),
    )
    return report.model_copy(update={"notices": _notices(report)})


def _known_rows(engine: LesionEngine, rows: Sequence[Row]) -> tuple[list[Row], dict[str, int]]:
    """Return the rows with a known diagnosis, and the number of other rows by reason."""
    labels = set(engine.meta.labels)
    left_out: Counter[str] = Counter()
    known: list[Row] = []
    for row in rows:
        try:
            name = find_diagnosis(row.label).name
        except UnknownDiagnosisError:
            left_out["no diagnosis given" if not row.label else f"unknown diagnosis {row.label!r}"] += 1
            continue
        if name in labels:
            known.append(row)
        else:
            left_out[f"{name}: not among the checkpoint's diagnoses"] += 1
    if not known:
        raise EvaluationError(
            f"none of the {len(rows)} photos has a diagnosis of checkpoint {engine.meta.name} "
            f"({', '.join(engine.meta.labels)}); give a manifest with some of these, or another checkpoint"
        )
    return known, dict(left_out.most_common())


def _predict(engine: LesionEngine, rows: Sequence[Row]) -> tuple[Predictions, int]:
    """Return the predictions for the readable photos, and the number of unreadable ones."""
    readable: list[Row] = []
    risk: list[np.ndarray] = []
    diagnosis: list[np.ndarray] = []
    with tqdm(total=len(rows), unit=" photos", desc="evaluating", disable=None) as bar:
        for start in range(0, len(rows), CHUNK_SIZE):
            chunk = rows[start : start + CHUNK_SIZE]
            images, unreadable = decoded_photos(chunk, side_px=engine.meta.input_px, cache="")
            good = [index for index in range(len(chunk)) if index not in unreadable]
            for index in np.array_split(good, max(1, len(good) // BATCH_SIZE)) if good else ():
                output = engine(images.numpy()[index])
                risk.append(output.malignant_B)
                diagnosis.append(output.diagnosis_BK)
            readable += [chunk[index] for index in good]
            bar.update(len(chunk))
    if not readable:
        raise EvaluationError(
            f"none of the {len(rows)} photos can be read; check their addresses in the manifest, "
            "or run skinserve ingest again"
        )
    if not all(np.isfinite(part).all() for part in (*risk, *diagnosis)):
        raise EvaluationError(
            f"outputs of checkpoint {engine.meta.name} are not finite; release an epoch before it diverged"
        )
    labels, groups = engine.meta.labels, engine.meta.groups
    truth_B = np.array([labels.index(find_diagnosis(row.label).name) for row in readable])
    predictions = Predictions(
        rows=readable,
        malignant_B=np.array([int(groups[labels[column]] == "malignant") for column in truth_B]),
        truth_B=truth_B,
        malignant_probability_B=np.concatenate(risk).astype(np.float64),
        probability_BK=np.concatenate(diagnosis).astype(np.float64),
        group_B=groups_of(readable),
    )
    return predictions, len(rows) - len(readable)


def _recalibrated(predictions: Predictions) -> CalibrationMetrics:
    """Return the cross-fitted effect of a second calibration, on these photos."""
    probability_B = np.clip(predictions.malignant_probability_B, 1e-9, 1 - 1e-9)
    columns = [np.log1p(-probability_B), np.log(probability_B)]
    logits = LabelledLogits(
        risk_BR=np.stack(columns if MALIGNANT else columns[::-1], axis=1),
        diagnosis_BK=np.log(np.maximum(predictions.probability_BK, 1e-12)),
        malignant_B=predictions.malignant_B,
        truth_B=predictions.truth_B,
        group_B=predictions.group_B,
    )
    return calibration_metrics(logits, fit_calibration(logits))


def _notices(report: LesionReport) -> tuple[str, ...]:
    """Return the notices that the report shows above its metrics."""
    notices = [f"{count:,} photos left out: {reason}." for reason, count in report.left_out.items()]
    absent = [label for label, recall in report.metrics.diagnosis.recall.items() if not recall.n]
    if absent:
        notices.append(f"No photo here shows {', '.join(absent)}; the metrics are of the other diagnoses.")
    regrouped = [name for name, group in report.groups.items() if group != find_diagnosis(name).group]
    if regrouped:
        notices.append(
            f"The checkpoint counts {', '.join(regrouped)} in another group than this code; "
            "its own group is used."
        )
    if report.roc is None:
        notices.append(
            "All photos here are of one risk group: AUROC and specificity at a sensitivity are undefined."
        )
    return tuple(notices)
