"""Evaluation of a progress checkpoint on labelled or synthetic series."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from models.checkpoint import META, CheckpointMeta
from models.face.descriptor import load_face_descriptor
from models.face.detector import MtcnnFaceDetector
from models.face.metrics import SamePersonMetrics
from models.progress.engine import ProgressEngine
from models.progress.verdict import VerdictThresholds
from train.data.manifest import ManifestError, Row
from train.progress.baselines import baseline_metrics, no_change_metrics
from train.progress.calibration import VerdictData
from train.progress.evaluation_series import (
    UNCLEAR,
    SeriesSource,
    changed_series,
    clear_series,
    evaluation_series,
)
from train.progress.predictions import evaluate_engine
from train.progress.report import ProgressReport
from train.progress.same_person import same_person_metrics
from train.progress.synthetic.trajectory import SeriesDrawing
from train.task import EvaluationError

NUM_SERIES = 600
RENAMED_SETTINGS = {"steady_chance": "no_change_chance", "bare_chance": "unmodified_chance"}
"""Of ``SeriesDrawing``, in the ``meta.json`` of older checkpoints."""


def evaluate_progress(
    engine: ProgressEngine,
    rows: Sequence[Row],
    train_rows: Sequence[Row],
    *,
    faces: str,
    num_series: int = NUM_SERIES,
    descriptor: Path | None = None,
) -> ProgressReport:
    """Evaluate an engine beside the baseline models.

    Args:
        rows: photos of the people to evaluate on.
        train_rows: photos of other people, for the baseline models; empty: no baselines.
        faces: folder of ``skinserve extract-faces`` with labelled series; empty: series are synthetic.
        num_series: synthetic ones and unchanged real ones; of the other kinds a third as many.
        descriptor: checkpoint of the face descriptor, for the detection of different people; None: omitted.

    Raises:
        EvaluationError: no series has a clear verdict.
    """
    meta = engine.meta
    source = SeriesSource(
        faces=faces,
        drawing=drawing_of(meta),
        size_px=meta.input_px,
        seed=int(meta.training.get("seed", 0)),
        num_series=num_series,
        device=engine.device,
    )
    series = evaluation_series(rows, train_rows, source)
    val_series, train_series = series.with_verdict, clear_series(series.baseline_train, real=series.real)
    if not val_series:
        raise EvaluationError(
            f"the {len(rows)} photos give no series with a clear verdict; label them with "
            "skinserve followup, or leave --faces out to evaluate on synthetic series"
        )
    data = VerdictData(engine, {**series.no_change, **series.altered}, changed_series(series))
    thresholds = VerdictThresholds.of(meta.thresholds)
    verdicts = {"checkpoint": data.metrics(thresholds)}
    if data.thresholds().worsened is not None:
        verdicts["cross_fitted"] = data.metrics()
    report = ProgressReport(
        n=len(val_series),
        num_without_verdict=len(series.val) - len(val_series),
        unclear=UNCLEAR,
        real=series.real,
        thresholds=thresholds.stored(),
        verdicts=verdicts,
        same_person=_same_person(engine, [*train_rows, *rows], descriptor),
        metrics=evaluate_engine(engine, val_series),
        baselines=baseline_metrics(engine, train_series, val_series) if series.baseline_train else {},
        no_change=no_change_metrics(engine, series.no_change),
    )
    return report.model_copy(update={"notices": _notices(report)})


def _same_person(
    engine: ProgressEngine, rows: Sequence[Row], folder: Path | None
) -> SamePersonMetrics | None:
    """Evaluate the detection of different people; None without a face descriptor or with too few people."""
    if folder is None or not (folder / META).is_file():
        return None
    try:
        detector = MtcnnFaceDetector()
        descriptor = load_face_descriptor(folder)
        return same_person_metrics(rows, detector, descriptor)[1]
    except ManifestError:
        return None


def drawing_of(meta: CheckpointMeta) -> SeriesDrawing:
    """Return the synthesis settings of the training run; ignore settings removed since."""
    known = {field.name for field in fields(SeriesDrawing)}
    stored: dict[str, Any] = {}
    for name, value in meta.training.get("drawing", {}).items():
        name = RENAMED_SETTINGS.get(name, name)
        if name in known:
            stored[name] = tuple(value) if isinstance(value, list) else value
    return SeriesDrawing(**stored)


def _notices(report: ProgressReport) -> tuple[str, ...]:
    """Return the notices that the report shows above its metrics."""
    notices: list[str] = []
    if report.num_without_verdict:
        low, high = report.unclear
        notices.append(
            f"{report.num_without_verdict:,} series left out: their label is between {low} and {high}."
        )
    if report.metrics.auroc.value is None:
        notices.append("All series here have one verdict: AUROC and the recall of the other are undefined.")
    return tuple(notices)
