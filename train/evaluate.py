"""The command line of evaluation: ``skinserve evaluate CHECKPOINT MANIFEST --split FILE``."""

import logging
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from models.checkpoint import CheckpointMeta, read_meta
from models.diagnoses import find_diagnosis
from models.errors import EXIT_DONE, command
from models.lesion.engine_loader import load_lesion_engine
from models.progress.engine import load_progress_engine
from models.storage import fetch_folder, join
from train.data.manifest import Row, read_manifest
from train.data.split import Split, read_split
from train.lesion.evaluation import EvaluationError, evaluate_lesion
from train.progress.evaluation import evaluate_progress
from train.report.html_report import write_report

Side = Literal["val", "train", "all"]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Measure a checkpoint on photos whose truth is known; write report.json and report.html."""

    checkpoint: Annotated[str, tyro.conf.Positional]
    """Checkpoint folder, local or on S3."""
    manifest: Annotated[str, tyro.conf.Positional]
    """Parquet file made by ``skinserve ingest``."""
    split: str = ""
    """Split that says which photos to take: ``split.parquet`` of a training run."""
    side: Side | None = None
    """Of the split; val if a split is given, else all photos."""
    faces: str = ""
    """Progress only: folder of ``skinserve extract-faces``; without it, series are drawn."""
    out: str = "runs/evaluation"
    """Folder for the two reports, local or on S3."""
    device: str = "cpu"
    """Torch device that computes."""


@command("skinserve evaluate", when_stopped="stopped before the report was complete")
def main(prog: str, arguments: Sequence[str] | None) -> int:
    """Evaluate a checkpoint and write both reports."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("train").setLevel(logging.INFO)  # no other library's INFO
    settings = tyro.cli(Evaluation, args=arguments, prog=prog)
    content = evaluate(settings)
    write_report(content, settings.out)
    for notice in content["notices"]:
        print(notice)
    print(f"{content['summary']} The report is {join(settings.out, 'report.html')}")
    return EXIT_DONE


def evaluate(settings: Evaluation) -> dict[str, Any]:
    """Return the content of ``report.json``.

    Raises:
        CheckpointError, FaceExtractionError, ManifestError, StorageError: what is named cannot be used.
        EvaluationError: there is nothing to evaluate between the checkpoint and the photos.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = fetch_folder(settings.checkpoint, Path(scratch))
        meta = read_meta(folder)
        all_rows = read_manifest(settings.manifest)
        split = read_split(all_rows, settings.split) if settings.split else None
        side, rows, others = _sides(settings, all_rows, split)
        if meta.kind == "lesion":
            content = evaluate_lesion(
                load_lesion_engine(folder, device=settings.device, engine="pytorch"), rows
            )
        else:
            engine = load_progress_engine(folder, device=settings.device)
            content = evaluate_progress(engine, rows, others, faces=settings.faces)
    what = "photos" if meta.kind == "lesion" else "series"
    whose = {"val": "of the validation side of a split", "train": "of the training side of a split"}
    return {
        "model": {
            "name": meta.name,
            "version": meta.version,
            "weights_sha256": meta.weights_sha256,
            "labels": list(meta.labels),
        },
        "side": side,
        "summary": f"Measured on {content['n']:,} {what} {whose.get(side, 'of one manifest')}.",
        "notices": [_provenance(meta, split, side), *_notices(content)],
        **content,
    }


def _sides(
    settings: Evaluation, rows: Sequence[Row], split: Split | None
) -> tuple[Side, Sequence[Row], Sequence[Row]]:
    """The side asked for, its rows, and those to learn from."""
    if split is None:
        if settings.side not in (None, "all"):
            raise EvaluationError(
                f"--side {settings.side} is of a split; name the split with --split, or leave --side out"
            )
        return "all", rows, ()
    side = settings.side or "val"
    chosen = {"val": split.val, "train": split.train, "all": (*split.train, *split.val)}[side]
    if not chosen:
        raise EvaluationError(f"the {side} side of {settings.split} is empty; take another side")
    return side, chosen, split.train if side == "val" else ()


def _provenance(meta: CheckpointMeta, split: Split | None, side: Side) -> str:
    """Whether the checkpoint has seen what it is judged by; the fingerprint of the split tells."""
    if split is None or split.fingerprint != meta.data_fingerprint:
        return (
            "Whether the checkpoint learned from these photos cannot be told from here: they come without "
            "the split that it was trained with. If it did, the figures flatter it."
        )
    if side != "val":
        return "The checkpoint learned from these photos. The figures say nothing about others."
    chosen = (
        ""
        if "calibration" not in meta.metrics
        else " Its calibration, and its threshold if one was chosen, were fitted on them."
    )
    return f"The checkpoint did not learn from these photos: the fingerprint of its split agrees.{chosen}"


def _notices(content: dict[str, Any]) -> list[str]:
    if content["kind"] != "lesion":
        return _progress_notices(content)
    notices = [f"{count:,} photos left out: {why}." for why, count in content["left_out"].items()]
    recalls = content["metrics"]["diagnosis"]["recall"]
    absent = [label for label, figure in recalls.items() if not figure["n"]]
    if absent:
        notices.append(f"No photo here shows {', '.join(absent)}; the figures are of the other diagnoses.")
    odd = [name for name, group in content["groups"].items() if group != find_diagnosis(name).group]
    if odd:
        notices.append(
            f"The checkpoint counts {', '.join(odd)} in another group than this code; its own holds here."
        )
    if content["roc"] is None:
        notices.append(
            "All photos here are of one risk group: AUROC and specificity at a sensitivity are undefined."
        )
    return notices


def _progress_notices(content: dict[str, Any]) -> list[str]:
    notices: list[str] = []
    if content["num_without_verdict"]:
        low, high = content["unclear"]
        notices.append(
            f"{content['num_without_verdict']:,} series left out: their label lies between {low} and {high}."
        )
    if content["metrics"]["auroc"]["value"] is None:
        notices.append("All series here have one verdict: AUROC and the recall of the other are undefined.")
    return notices


if __name__ == "__main__":
    sys.exit(main())
