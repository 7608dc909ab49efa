"""All that is told of a lesion checkpoint on photos whose truth is known, as a whole and by subgroup.

Axes: B photo, K diagnosis, R risk group.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import roc_curve
from tqdm import tqdm

from models.diagnoses import UnknownDiagnosisError, find_diagnosis
from models.errors import SkinserveError
from models.lesion.engines import LesionEngine
from train.data.manifest import Row
from train.data.split import groups_of
from train.image_cache import decoded_photos
from train.lesion.calibration import MALIGNANT, Judged, calibration_metrics, fit_calibration
from train.metrics import lesion_metrics
from train.report import bootstrap
from train.report.bootstrap import Resamples

FEW_PHOTOS = 30
FEW_OF_A_GROUP = 5
"""A subgroup with fewer photos, or fewer malignant or benign ones, is flagged: its figures say little."""
AGE_BANDS = ((0, 30, "under 30"), (30, 45, "30 to 44"), (45, 60, "45 to 59"), (60, 75, "60 to 74"))
OLDEST = "75 and over"
NOT_RECORDED = "not recorded"
CHUNK = 256
"""Photos decoded at a time."""
FALSE_ALARMS_K = np.linspace(0, 1, 101)
MAX_CURVE_POINTS = 400


class EvaluationError(SkinserveError):
    """A checkpoint and photos between which there is nothing to evaluate."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the checkpoint says of photos, and what they show."""

    rows: list[Row]
    malignant_B: np.ndarray
    truth_B: np.ndarray
    malignant_probability_B: np.ndarray
    probability_BK: np.ndarray
    group_B: list[str]


LeftOut = dict[str, int]
"""Why photos are left out, and how many."""


def evaluate_lesion(engine: LesionEngine, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the content of ``report.json`` but for where the photos come from.

    Raises:
        EvaluationError: no photo has a diagnosis that the checkpoint can name, or none can be read.
    """
    kept, left_out = _known_rows(engine, rows)
    answers = _ask(engine, kept, left_out)
    labels, threshold = engine.meta.labels, engine.meta.thresholds["malignant"]
    return {
        "kind": "lesion",
        "n": len(answers.rows),
        "left_out": left_out,
        "threshold": threshold,
        "groups": dict(engine.meta.groups),
        "metrics": lesion_metrics(
            malignant_B=answers.malignant_B,
            diagnosis_B=answers.truth_B,
            malignant_probability_B=answers.malignant_probability_B,
            probability_BK=answers.probability_BK,
            labels=labels,
            threshold=threshold,
            group_B=answers.group_B,
        ),
        "auroc_by_diagnosis": _aurocs(answers, labels),
        "recalibrated_here": _recalibrated(answers),
        "roc": _roc(answers),
        "confusion": _confusion(answers, labels),
        "reliability": _reliability(answers),
        "subgroups": {name: _subgroups(answers, band_of, threshold) for name, band_of in SUBGROUPS.items()},
    }


def _known_rows(engine: LesionEngine, rows: Sequence[Row]) -> tuple[list[Row], LeftOut]:
    """The rows whose diagnosis the checkpoint can name, and how many others there are by reason."""
    labels = set(engine.meta.labels)
    left_out: Counter[str] = Counter()
    kept: list[Row] = []
    for row in rows:
        try:
            name = find_diagnosis(row.label).name
        except UnknownDiagnosisError:
            left_out["no diagnosis given" if not row.label else f"unknown diagnosis {row.label!r}"] += 1
            continue
        if name in labels:
            kept.append(row)
        else:
            left_out[f"{name}: the checkpoint was not trained to name it"] += 1
    if not kept:
        raise EvaluationError(
            f"none of the {len(rows)} photos has a diagnosis that checkpoint {engine.meta.name} knows "
            f"({', '.join(engine.meta.labels)}); give a manifest with some of these, or another checkpoint"
        )
    return kept, dict(left_out.most_common())


def _ask(engine: LesionEngine, rows: Sequence[Row], left_out: LeftOut) -> Answers:
    read: list[Row] = []
    risk: list[np.ndarray] = []
    diagnosis: list[np.ndarray] = []
    with tqdm(total=len(rows), unit=" photos", desc="evaluating", disable=None) as bar:
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            images, unreadable = decoded_photos(part, side_px=engine.meta.input_px, cache="")
            good = [index for index in range(len(part)) if index not in unreadable]
            for index in np.array_split(good, max(1, len(good) // 64)) if good else ():
                output = engine(images.numpy()[index])
                risk.append(output.malignant_B)
                diagnosis.append(output.diagnosis_BK)
            read += [part[index] for index in good]
            bar.update(len(part))
    if len(read) < len(rows):
        left_out["the photo cannot be read"] = len(rows) - len(read)
    if not read:
        raise EvaluationError(
            f"none of the {len(rows)} photos can be read; check that they are where the manifest says, "
            "or run train.data.ingest again"
        )
    if not all(np.isfinite(part).all() for part in (*risk, *diagnosis)):
        raise EvaluationError(f"checkpoint {engine.meta.name} answers what is not a number; release it again")
    labels, groups = engine.meta.labels, engine.meta.groups
    truth_B = np.array([labels.index(find_diagnosis(row.label).name) for row in read])
    return Answers(
        rows=read,
        malignant_B=np.array([int(groups[labels[column]] == "malignant") for column in truth_B]),
        truth_B=truth_B,
        malignant_probability_B=np.concatenate(risk).astype(np.float64),
        probability_BK=np.concatenate(diagnosis).astype(np.float64),
        group_B=groups_of(read),
    )


def _aurocs(answers: Answers, labels: Sequence[str]) -> dict[str, Any]:
    resamples = Resamples(answers.group_B, answers.truth_B)
    return {
        label: resamples.interval(
            bootstrap.auroc(answers.truth_B == column, answers.probability_BK[:, column])
        )
        for column, label in enumerate(labels)
    }


def _recalibrated(answers: Answers) -> dict[str, Any]:
    """What another calibration, fitted on half of these photos, would do for the other half."""
    probability_B = np.clip(answers.malignant_probability_B, 1e-9, 1 - 1e-9)
    columns = [np.log1p(-probability_B), np.log(probability_B)]
    judged = Judged(
        risk_BR=np.stack(columns if MALIGNANT else columns[::-1], axis=1),
        diagnosis_BK=np.log(np.maximum(answers.probability_BK, 1e-12)),
        malignant_B=answers.malignant_B,
        truth_B=answers.truth_B,
        group_B=answers.group_B,
    )
    return calibration_metrics(judged, fit_calibration(judged))


def _roc(answers: Answers) -> dict[str, Any] | None:
    """The curve of the risk head with its band; None where all photos are of one group."""
    if len(np.unique(answers.malignant_B)) < 2:
        return None
    alarms, caught, thresholds = roc_curve(answers.malignant_B, answers.malignant_probability_B)
    some = np.unique(np.linspace(0, len(alarms) - 1, MAX_CURVE_POINTS).astype(int))
    resamples = Resamples(answers.group_B, answers.malignant_B)
    band = resamples.intervals(
        bootstrap.sensitivities(answers.malignant_B, answers.malignant_probability_B, FALSE_ALARMS_K)
    )
    return {
        "false_alarms": alarms[some].round(4).tolist(),
        "sensitivity": caught[some].round(4).tolist(),
        "thresholds": np.minimum(thresholds[some], 1).round(4).tolist(),
        "band": {
            "false_alarms": FALSE_ALARMS_K.round(2).tolist(),
            "low": [point["low"] for point in band],
            "high": [point["high"] for point in band],
        },
    }


def _confusion(answers: Answers, labels: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each true diagnosis: how many of its photos each diagnosis was named for."""
    named_B = answers.probability_BK.argmax(1)
    rows: list[dict[str, Any]] = []
    for column, label in enumerate(labels):
        members = np.flatnonzero(answers.truth_B == column)
        counts = np.bincount(named_B[members], minlength=len(labels)).tolist()
        groups = [answers.group_B[index] for index in members]
        shares = [{"value": None, "low": None, "high": None}] * len(labels)
        if len(members):
            shares = Resamples(groups, np.zeros(len(members), int)).intervals(
                bootstrap.named_shares(named_B[members], len(labels))
            )
        rows.append({"label": label, "n": len(members), "counts": counts, "shares": shares})
    return rows


def _reliability(answers: Answers) -> dict[str, Any]:
    named_B = answers.probability_BK.argmax(1)
    heads = {
        "diagnosis": (answers.probability_BK.max(1), named_B == answers.truth_B, answers.truth_B),
        "risk": (answers.malignant_probability_B, answers.malignant_B, answers.malignant_B),
    }
    return {
        name: _bins(probability_B, np.asarray(happened_B), Resamples(answers.group_B, class_B))
        for name, (probability_B, happened_B, class_B) in heads.items()
    }


def _bins(probability_B: np.ndarray, happened_B: np.ndarray, resamples: Resamples) -> list[dict[str, Any]]:
    bin_B = bootstrap.bin_of(probability_B)
    shares = resamples.intervals(bootstrap.shares_by_bin(probability_B, happened_B))
    return [
        {
            "n": int((bin_B == number).sum()),
            "mean_probability": round(float(probability_B[bin_B == number].mean()), 4),
            "happened": share,
        }
        if (bin_B == number).any()
        else {"n": 0, "mean_probability": None, "happened": share}
        for number, share in enumerate(shares)
    ]


def _age_band(row: Row) -> str:
    if row.age_years is None:
        return ""
    return next((name for low, high, name in AGE_BANDS if low <= row.age_years < high), OLDEST)


SUBGROUPS: dict[str, Callable[[Row], str]] = {
    "age": _age_band,
    "sex": lambda row: row.sex,
    "site": lambda row: row.site,
    "skin type": lambda row: row.skin_type,
}


def _subgroups(answers: Answers, band_of: Callable[[Row], str], threshold: float) -> list[dict[str, Any]]:
    """One row for each subgroup; what is not recorded comes last."""
    bands = [band_of(row) or NOT_RECORDED for row in answers.rows]
    order = {name: place for place, (_, _, name) in enumerate(AGE_BANDS)} | {OLDEST: len(AGE_BANDS)}
    count = Counter(bands)
    names = sorted(count, key=lambda name: (name == NOT_RECORDED, order.get(name, 99), name))
    return [_subgroup(answers, name, np.flatnonzero(np.array(bands) == name), threshold) for name in names]


def _subgroup(answers: Answers, name: str, index: np.ndarray, threshold: float) -> dict[str, Any]:
    malignant_B, truth_B = answers.malignant_B[index], answers.truth_B[index]
    probability_B = answers.malignant_probability_B[index]
    named_B = answers.probability_BK[index].argmax(1)
    groups = [answers.group_B[i] for i in index]
    by_risk, by_diagnosis = Resamples(groups, malignant_B), Resamples(groups, truth_B)
    flagged_B = (probability_B >= threshold).astype(int)
    specificity, sensitivity = by_risk.intervals(bootstrap.class_recalls(malignant_B, flagged_B, 2))
    num_malignant = int(malignant_B.sum())
    num_benign = len(index) - num_malignant
    return {
        "name": name,
        "n": len(index),
        "num_malignant": num_malignant,
        "few": len(index) < FEW_PHOTOS or min(num_malignant, num_benign) < FEW_OF_A_GROUP,
        "auroc": by_risk.interval(bootstrap.auroc(malignant_B, probability_B)),
        "sensitivity": sensitivity,
        "specificity": specificity,
        "balanced_accuracy": by_diagnosis.interval(
            bootstrap.balanced_accuracy(truth_B, named_B, answers.probability_BK.shape[1])
        ),
        "num_diagnoses": len(np.unique(truth_B)),
    }
