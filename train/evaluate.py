"""Command line: ``skinserve evaluate CHECKPOINT MANIFEST --split FILE``."""

import logging
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from models.checkpoint import CheckpointMeta, read_meta
from models.errors import EXIT_DONE, command
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
    out: str = "runs/evaluation"
    """Folder for the two reports, local or on S3."""
    device: str = "cpu"
    """Torch device."""


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
        SkinserveError: checkpoint, manifest, split or faces cannot be read, or no photo can be evaluated.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = fetch_folder(settings.checkpoint, Path(scratch))
        meta = read_meta(folder)
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


def _data_of(settings: Evaluation, rows: Sequence[Row], split: Split | None) -> tuple[Side, EvaluationData]:
    """Return the rows to evaluate on, and the training set for baselines."""
    if split is None:
        if settings.side not in (None, "all"):
            raise EvaluationError(
                f"--side {settings.side} is of a split; name the split with --split, or leave --side out"
            )
        return "all", EvaluationData(rows=rows, faces=settings.faces, device=settings.device)
    side = settings.side or "val"
    chosen = {"val": split.val, "train": split.train, "all": (*split.train, *split.val)}[side]
    if not chosen:
        raise EvaluationError(f"the {side} side of {settings.split} is empty; take another side")
    return side, EvaluationData(
        rows=chosen,
        train_rows=split.train if side == "val" else (),
        faces=settings.faces,
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
