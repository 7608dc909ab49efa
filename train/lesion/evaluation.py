"""Evaluate a lesion checkpoint on labelled photos, overall and by subgroup.

Axes: B photo, K diagnosis.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from tqdm import tqdm

from models.diagnoses import UnknownDiagnosisError, find_diagnosis
from models.lesion.engine import LesionEngine
from models.lesion.gate import gate_of
from models.lesion.localizer import Localizer
from models.lesion.metrics import CalibrationMetrics
from train.data.manifest import Row
from train.lesion.breakdowns import (
    Predictions,
    auroc_by_diagnosis,
    confusion_matrix,
    reliability_diagrams,
    roc_with_band,
    subgroup_metrics,
)
from train.lesion.calibration import MALIGNANT, LabelledLogits, calibration_metrics, fit_calibration
from train.lesion.degradations import DEGRADATIONS
from train.lesion.metrics import lesion_metrics
from train.lesion.pictures import (
    degraded_pictures,
    find_pictures,
    folder_name,
    manifest_pictures,
    pictures_without_lesion,
)
from train.lesion.pipeline import Picture, PipelineOutput, run_pipeline
from train.lesion.report import LesionReport, VerdictReport
from train.lesion.verdict_breakdowns import verdict_report
from train.lesion.verdict_metrics import VerdictRule
from train.task import EvaluationError


def evaluate_lesion(
    engine: LesionEngine,
    rows: Sequence[Row],
    *,
    localizer: Localizer | None = None,
    degrade: bool = False,
    without_lesion: str = "",
) -> LesionReport:
    """Evaluate a checkpoint as served on the photos whose diagnosis it was trained on.

    Args:
        engine: of the checkpoint.
        rows: of a manifest.
        localizer: of a checkpoint with a gate; the network then reads its crops.
        degrade: evaluate the verdicts on every degradation of the detected malignant photos.
        without_lesion: folder of pictures without a lesion, a sub-folder for each kind; empty: none.

    Raises:
        EvaluationError: no photo has such a diagnosis, none can be read, or an option needs a gate.
    """
    gate = gate_of(engine.meta)
    if (gate is None) != (localizer is None):
        raise ValueError("give the localizer of a checkpoint with a gate, and none for another checkpoint")
    _check_options(engine, has_gate=gate is not None, degrade=degrade, without_lesion=without_lesion)
    addresses = find_pictures(without_lesion) if without_lesion else []
    known, left_out = _known_rows(engine, rows)
    runner = _Runner(engine, localizer)
    source_B = [folder_name(row) for row in known]
    outputs = runner.run(
        manifest_pictures(known, engine.meta, source_B=source_B, unreadable=runner.unreadable),
        total=len(known),
        description="evaluating",
    )
    if not outputs:
        raise EvaluationError(
            f"none of the {len(known)} photos can be read; check their addresses in the manifest, "
            "or run skinserve ingest again"
        )
    if runner.unreadable:
        left_out["the photo cannot be read"] = len(runner.unreadable)
    predictions = _predictions(engine, known, outputs)
    malignant = engine.meta.thresholds["malignant"]
    rule = VerdictRule(gate=gate, benign=engine.meta.thresholds.get("benign", malignant), malignant=malignant)
    degraded = _run_degraded(runner, known, outputs, rule) if degrade else []
    runner.unreadable.clear()
    others = runner.run(
        pictures_without_lesion(without_lesion, addresses, unreadable=runner.unreadable),
        total=len(addresses),
        description="pictures without a lesion",
    )
    verdicts = verdict_report(outputs, predictions.rows, rule, degraded=degraded, without_lesion=others)
    report = _report(engine, predictions, left_out, verdicts)
    notices = _notices(report)
    if runner.unreadable:
        number = len(runner.unreadable)
        notices = (*notices, f"{number:,} pictures without a lesion left out: they cannot be read.")
    return report.model_copy(update={"notices": notices})


def _report(
    engine: LesionEngine, predictions: Predictions, left_out: dict[str, int], verdicts: VerdictReport
) -> LesionReport:
    labels, threshold = engine.meta.labels, engine.meta.thresholds["malignant"]
    return LesionReport(
        n=len(predictions.rows),
        engine=engine.runtime,
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
            ranking_weight_K=engine.meta.label_weights(),
        ),
        auroc_by_diagnosis=auroc_by_diagnosis(predictions, labels),
        recalibrated_here=_recalibrated(predictions),
        roc=roc_with_band(predictions),
        confusion=confusion_matrix(predictions, labels),
        reliability=reliability_diagrams(predictions),
        subgroups=subgroup_metrics(predictions, threshold),
        verdicts=verdicts,
    )


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


class _Runner:
    """Run pictures through the pipeline of one checkpoint; names of unreadable ones are collected."""

    def __init__(self, engine: LesionEngine, localizer: Localizer | None) -> None:
        self.unreadable: list[str] = []
        self._engine = engine
        self._localizer = localizer

    def run(self, pictures: Iterable[Picture], *, total: int, description: str) -> list[PipelineOutput]:
        """Return the outputs of the readable pictures.

        Raises:
            EvaluationError: outputs are not finite.
        """
        if not total:
            return []
        with tqdm(pictures, total=total, unit=" photos", desc=description, disable=None) as bar:
            outputs = list(run_pipeline(self._engine, self._localizer, bar, unreadable=self.unreadable))
        finite = (
            np.isfinite(one.malignant_probability) and np.isfinite(one.diagnosis_K).all() for one in outputs
        )
        if not all(finite):
            raise EvaluationError(
                f"outputs of checkpoint {self._engine.meta.name} are not finite; release an epoch before it "
                "diverged"
            )
        return outputs


def _run_degraded(
    runner: _Runner, rows: Sequence[Row], outputs: Sequence[PipelineOutput], rule: VerdictRule
) -> list[PipelineOutput]:
    """Return the outputs of all degradations of the malignant photos that are detected without them."""
    detected = [one.picture for one in outputs if one.picture.malignant and rule(one) == "malignant"]
    return runner.run(
        degraded_pictures(detected, [rows[int(one.name)].image for one in detected]),
        total=len(detected) * len(DEGRADATIONS),
        description="degraded photos",
    )


def _check_options(engine: LesionEngine, *, has_gate: bool, degrade: bool, without_lesion: str) -> None:
    given = [name for name, value in (("--degrade", degrade), ("--without-lesion", without_lesion)) if value]
    if given and not has_gate:
        meta = engine.meta
        verb = "needs" if len(given) == 1 else "need"
        raise EvaluationError(
            f"{' and '.join(given)} {verb} a checkpoint with a gate; {meta.name} {meta.version} has none and "
            "gives a verdict on almost every photo; leave the option out, or evaluate another checkpoint"
        )


def _predictions(
    engine: LesionEngine, known: Sequence[Row], outputs: Sequence[PipelineOutput]
) -> Predictions:
    labels = engine.meta.labels
    return Predictions(
        rows=[known[int(one.picture.name)] for one in outputs],
        malignant_B=np.array([int(bool(one.picture.malignant)) for one in outputs]),
        truth_B=np.array([labels.index(one.picture.diagnosis) for one in outputs]),
        malignant_probability_B=np.array([one.malignant_probability for one in outputs], np.float64),
        probability_BK=np.stack([one.diagnosis_K for one in outputs]).astype(np.float64),
        ranking_weight_K=np.array(engine.meta.label_weights()),
        group_B=[one.picture.group for one in outputs],
        source_B=[one.picture.source for one in outputs],
    )


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
