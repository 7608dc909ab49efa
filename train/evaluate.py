"""Command line: ``skinserve evaluate CHECKPOINT MANIFEST --split FILE``."""

import logging
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import tyro

from models.checkpoint import CheckpointMeta, read_meta
from models.errors import EXIT_DONE, command
from models.lesion.runtimes import EngineName
from models.storage import fetch_folder, join
from train.data.manifest import Row, read_manifest
from train.data.split import Split, read_split
from train.report.html_report import Report, ReportedModel, write_report
from train.task import EvaluationData, EvaluationError
from train.tasks import TASKS

Side = Literal["val", "train", "all"]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Evaluate a checkpoint on labelled photos; write report.json and report.html."""

    checkpoint: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")]
    """Checkpoint folder, local or on S3."""
    manifest: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MANIFEST")]
    """Parquet file made by ``skinserve ingest``."""
    split: str = ""
    """Split to take the photos from: ``split.parquet`` of a training run."""
    side: Side | None = None
    """Set of the split; val if a split is given, else all photos."""
    faces: str = ""
    """Progress only: folder of ``skinserve extract-faces``; empty: series with synthetic lesions."""
    degrade: bool = False
    """Lesion only: evaluate the verdicts on 12 degradations of every detected malignant photo."""
    without_lesion: str = ""
    """Lesion only: folder of pictures without a lesion, a sub-folder for each kind; local or on S3."""
    engine: EngineName = "pytorch"
    """Lesion only: inference engine; pytorch is float32, auto is the one that the server selects."""
    out: str = "runs/evaluation"
    """Folder for the two reports, local or on S3."""
    device: str = "cpu"
    """Torch device."""


KIND_OF_OPTION = {
    "faces": "progress",
    "degrade": "lesion",
    "without_lesion": "lesion",
    "engine": "lesion",
}
"""Kind of checkpoint that an option is for."""


@command("skinserve evaluate", when_stopped="stopped before the report was complete")
def main(prog: str, arguments: Sequence[str] | None) -> int:
    """Evaluate a checkpoint and write both reports."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("train").setLevel(logging.INFO)  # no other library's INFO
    settings = tyro.cli(Evaluation, args=arguments, prog=prog)
    report = evaluate(settings)
    write_report(report, settings.out)
    for notice in report.notices:
        print(notice)
    print(f"{report.summary} The report is {join(settings.out, 'report.html')}")
    return EXIT_DONE


def evaluate(settings: Evaluation) -> Report:
    """Evaluate a checkpoint and return the content of ``report.json``.

    Raises:
        SkinserveError: checkpoint, manifest, split or faces cannot be read, no photo can be evaluated, or an
            option is for another kind of checkpoint.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = fetch_folder(settings.checkpoint, Path(scratch))
        meta = read_meta(folder)
        _check_options(settings, meta)
        all_rows = read_manifest(settings.manifest)
        split = read_split(all_rows, settings.split) if settings.split else None
        side, data = _data_of(settings, all_rows, split)
        report = TASKS[meta.kind].evaluate(folder, data)
    source = {"val": "of the validation set of a split", "train": "of the training set of a split"}
    return report.model_copy(
        update={
            "model": ReportedModel(
                name=meta.name,
                version=meta.version,
                weights_sha256=meta.weights_sha256,
                labels=meta.labels,
            ),
            "side": side,
            "summary": f"Measured on {report.n:,} {report.unit} {source.get(side, 'of one manifest')}.",
            "notices": (_provenance(meta, split, side), *report.notices),
        }
    )


def _check_options(settings: Evaluation, meta: CheckpointMeta) -> None:
    defaults = {field.name: field.default for field in fields(Evaluation)}
    for name, kind in KIND_OF_OPTION.items():
        if kind != meta.kind and getattr(settings, name) != defaults[name]:
            raise EvaluationError(
                f"--{name.replace('_', '-')} is for {kind} checkpoints, {meta.name} {meta.version} is a "
                f"{meta.kind} checkpoint; leave the option out"
            )


def _data_of(settings: Evaluation, rows: Sequence[Row], split: Split | None) -> tuple[Side, EvaluationData]:
    """Return the rows to evaluate on, and the training set for baselines."""
    if split is None:
        if settings.side not in (None, "all"):
            raise EvaluationError(
                f"--side {settings.side} is of a split; name the split with --split, or leave --side out"
            )
        return "all", _data(settings, rows)
    side = settings.side or "val"
    chosen = {"val": split.val, "train": split.train, "all": (*split.train, *split.val)}[side]
    if not chosen:
        raise EvaluationError(f"the {side} side of {settings.split} is empty; take another side")
    return side, _data(settings, chosen, split.train if side == "val" else ())


def _data(settings: Evaluation, rows: Sequence[Row], train_rows: Sequence[Row] = ()) -> EvaluationData:
    return EvaluationData(
        rows=rows,
        train_rows=train_rows,
        faces=settings.faces,
        engine=settings.engine,
        degrade=settings.degrade,
        without_lesion=settings.without_lesion,
        device=settings.device,
    )


def _provenance(meta: CheckpointMeta, split: Split | None, side: Side) -> str:
    """Describe whether the checkpoint was trained on these photos, by the fingerprint of the split."""
    if split is None or split.fingerprint != meta.data_fingerprint:
        return (
            "Unknown whether the checkpoint was trained on these photos: the split of its training is not "
            "given. If it was, the metrics are too good."
        )
    if side != "val":
        return "The checkpoint was trained on these photos. The metrics say nothing about others."
    fitted = meta.metrics.is_calibrated
    more = " Its calibration, and its threshold if one was chosen, were fitted on them." if fitted else ""
    return f"The checkpoint was not trained on these photos: the fingerprint of its split agrees.{more}"


if __name__ == "__main__":
    sys.exit(main())
