"""Read or draw the series for evaluating a progress network: labelled by doctors, or synthetic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from models.face.detector import MtcnnFaceDetector
from train.data.manifest import Row
from train.progress.face_crops import crop_faces
from train.progress.labelled_series import read_series
from train.progress.series import Series
from train.progress.synthetic.alterations import ALTERATIONS
from train.progress.synthetic.generation import (
    altered_series,
    no_change_series,
    other_renderer_series,
    real_no_change_series,
    same_photo_series,
    training_series,
    validation_series,
)
from train.progress.synthetic.trajectory import SeriesDrawing

VERSION_2_DRAWING = SeriesDrawing()
UNCLEAR = (0.25, 0.75)
"""A doctor's note with a label between these has no clear verdict."""


@dataclass(frozen=True, kw_only=True)
class SeriesSource:
    """Settings that determine the evaluated series."""

    faces: str
    """Folder of extracted faces with labelled series; empty: series are synthetic."""
    drawing: SeriesDrawing
    size_px: int
    seed: int
    num_series: int
    """Synthetic series and series of unchanged real photos; of the other kinds a third as many."""
    device: str


@dataclass(frozen=True, kw_only=True)
class EvaluationSeries:
    """Series to evaluate a network on."""

    val: Sequence[Series]
    baseline_train: Sequence[Series] = ()
    """Training set of the baseline models, of other people; empty: no baselines."""
    no_change: Mapping[str, Sequence[Series]]
    """Controls by kind."""
    altered: Mapping[str, Sequence[Series]] = field(default_factory=dict)
    """Controls with altered photos, by kind; of them only the verdicts are evaluated."""
    other_renderer: Sequence[Series] = ()
    """With lesions drawn with settings that no network is trained on."""
    version_2: Sequence[Series] = ()
    """Drawn as for version 2, so that versions can be compared."""
    real: bool
    """Labelled by doctors' notes, not synthetic."""

    @property
    def with_verdict(self) -> list[Series]:
        """The validation series with a clear verdict; synthetic ones all have one."""
        return clear_series(self.val, real=self.real)


def evaluation_series(
    rows: Sequence[Row], train_rows: Sequence[Row], source: SeriesSource
) -> EvaluationSeries:
    """Read or draw the series to evaluate on.

    Args:
        rows: photos of the validation set.
        train_rows: photos of other people, for the baseline models; empty: no baselines.
    """
    if source.faces:
        return EvaluationSeries(
            val=read_series(source.faces, rows),
            baseline_train=read_series(source.faces, train_rows) if train_rows else (),
            no_change={},
            real=True,
        )
    detector = MtcnnFaceDetector(size_px=source.size_px)
    faces = crop_faces(rows, detector)
    train_faces = crop_faces(train_rows, detector) if train_rows else {}
    drawing, seed, size_px = source.drawing, source.seed, source.size_px
    num_controls = max(1, source.num_series // 3)
    drawn = {"seed": seed, "size_px": size_px}
    # many, for the thresholds: fitted on 200, they were 0.70, on 600 from 0.647 to 0.674 (three seeds)
    undrawn = real_no_change_series(faces, drawing, num_series=source.num_series, seed=seed)
    fewer = undrawn[:num_controls]
    return EvaluationSeries(
        val=validation_series(faces, drawing, num_series=source.num_series, **drawn),
        baseline_train=training_series(train_faces, drawing, num_series=source.num_series, **drawn)
        if train_faces
        else (),
        no_change={
            "drawn": no_change_series(faces, drawing, num_series=num_controls, **drawn),
            "undrawn": undrawn,
        },
        altered={
            "altered": altered_series(undrawn, seed=seed),
            **{f"altered_{name}": altered_series(fewer, seed=seed, names=(name,)) for name in ALTERATIONS},
            "same_photo": same_photo_series(faces),
        },
        other_renderer=other_renderer_series(faces, drawing, num_series=num_controls, **drawn),
        version_2=validation_series(faces, VERSION_2_DRAWING, num_series=num_controls, **drawn),
        real=False,
    )


def changed_series(series: EvaluationSeries) -> dict[str, Sequence[Series]]:
    """Return the series with a change by renderer; real ones have none."""
    if series.real:
        return {"real": series.with_verdict}
    return {
        "drawn": series.with_verdict,
        "drawn_version_2": series.version_2,
        "other_renderer": series.other_renderer,
    }


def clear_series(series: Sequence[Series], *, real: bool) -> list[Series]:
    """Return the series with a clear verdict; synthetic ones all have one."""
    low, high = UNCLEAR
    return [one for one in series if not (real and low < one.improvement_T[-1] < high)]
