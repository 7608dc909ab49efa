"""All that is told of a progress checkpoint on series of people, beside what simpler judges score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from models.checkpoint import CheckpointMeta
from models.face.detector import MtcnnFaceDetector
from models.progress.engine import ProgressEngine
from train.data.manifest import Row
from train.lesion.evaluation import EvaluationError
from train.progress.baselines import compare, spreads
from train.progress.face_crops import crop_faces
from train.progress.release import JUDGES, NOT_FITTED, STEADY, UNCLEAR, measure_progress, with_verdict
from train.progress.series import Series
from train.progress.synthetic.generation import (
    no_change_series,
    real_no_change_series,
    training_series,
    validation_series,
)
from train.progress.synthetic.trajectory import SeriesDrawing

NUM_SERIES = 600


@dataclass(frozen=True, kw_only=True)
class Material:
    """The series that a checkpoint is judged by."""

    judged: Sequence[Series]
    practised: Sequence[Series]
    """Of other people, for the simple judges to learn from; may be empty."""
    steady: Mapping[str, Sequence[Series]]
    real: bool


def evaluate_progress(
    engine: ProgressEngine,
    rows: Sequence[Row],
    others: Sequence[Row],
    *,
    faces: str,
    num_series: int = NUM_SERIES,
) -> dict[str, Any]:
    """Return the content of ``report.json`` but for where the photos come from.

    Args:
        rows: photos of the people to judge by.
        others: photos of other people, whom the simple judges learn from; none, no comparison.
        faces: folder of ``train.progress.extract_faces`` with labelled series; empty: lesions are drawn.
        num_series: drawn ones; a third as many steady ones.

    Raises:
        EvaluationError: no series is left to judge by.
    """
    meta = engine.meta
    material = material_of(
        rows,
        others,
        faces=faces,
        drawing=_drawing_of(meta),
        size_px=meta.input_px,
        seed=int(meta.training.get("seed", 0)),
        num_series=num_series,
        device=engine.device,
    )
    scored = with_verdict(material.judged, real=material.real)
    if not scored:
        raise EvaluationError(
            f"the {len(rows)} photos give no series with a clear verdict; label them with "
            "train.data.followup, or leave --faces out to draw lesions on them"
        )
    return {
        "kind": "progress",
        "n": len(scored),
        "num_without_verdict": len(material.judged) - len(scored),
        "unclear": UNCLEAR,
        "real": material.real,
        "threshold": engine.meta.thresholds["improved"],
        "metrics": measure_progress(engine, scored),
        "judges": compare(engine, with_verdict(material.practised, real=material.real), scored)
        if material.practised
        else {},
        "judge_names": JUDGES,
        "not_fitted": NOT_FITTED,
        "steady": spreads(engine, material.steady),
        "steady_names": STEADY,
    }


def material_of(
    rows: Sequence[Row],
    others: Sequence[Row],
    *,
    faces: str,
    drawing: SeriesDrawing,
    size_px: int,
    seed: int,
    num_series: int,
    device: str,
) -> Material:
    """Return the series by which a checkpoint is released and evaluated; see ``evaluate_progress``."""
    if faces:
        from train.progress.extract_faces import read_series

        practised = read_series(faces, others) if others else ()
        return Material(judged=read_series(faces, rows), practised=practised, steady={}, real=True)
    detector = MtcnnFaceDetector(device=device, size_px=size_px)
    mine, theirs = crop_faces(rows, detector), crop_faces(others, detector) if others else {}
    how = {"seed": seed, "size_px": size_px}
    num_steady = max(1, num_series // 3)
    return Material(
        judged=validation_series(mine, drawing, num_sequences=num_series, **how),
        practised=training_series(theirs, drawing, num_sequences=num_series, **how) if theirs else (),
        steady={
            "drawn": no_change_series(mine, drawing, num_sequences=num_steady, **how),
            "undrawn": real_no_change_series(mine, drawing, num_sequences=num_steady, seed=seed),
        },
        real=False,
    )


def _drawing_of(meta: CheckpointMeta) -> SeriesDrawing:
    """The drawing that the checkpoint was trained with, as far as this code still knows it."""
    known = {field.name for field in fields(SeriesDrawing)}
    stored: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in meta.training.get("drawing", {}).items()
        if name in known
    }
    return SeriesDrawing(**stored)
