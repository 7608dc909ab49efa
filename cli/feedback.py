"""Command line: ``skinserve feedback list|export``, the stored feedback of a server."""

import csv
import io
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from cli.text_table import text_table
from models import storage
from models.errors import EXIT_DONE, EXIT_ROWS_LEFT_OUT, SkinserveError, command
from serve.feedback.schemas import UNCONFIRMED, FeedbackRecord
from serve.feedback.store import PRIVATE, DamagedRecordError, FeedbackStore

_DAMAGED = "damaged"
MANIFEST, PHOTOS = "feedback.csv", "photos"
COLUMNS = (
    "image",
    "label",
    "confirmed_by",
    "correct",
    "model",
    "verdict",
    "malignant_probability",
    "received_on",
)
HEADINGS = ("task", "model", "verdict", "right", "wrong", "unknown", "confirmed", "photos")

_Folder = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]


class FeedbackError(SkinserveError):
    """Report feedback that cannot be exported."""


@dataclass(frozen=True, kw_only=True)
class List:
    """Print the number of feedbacks by model version, verdict and answer."""

    folder: _Folder
    """Setting gateway.feedback of the server: a path or an s3:// address."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write photos with their diagnoses, and a CSV for skinserve ingest."""

    folder: _Folder
    """Setting gateway.feedback of the server: a path or an s3:// address."""
    out: Path
    """Folder to write, new or empty."""
    unconfirmed: bool = False
    """Include diagnoses that neither a doctor nor histopathology has confirmed."""


@command("skinserve feedback")
def main(prog: str, arguments: Sequence[str] | None) -> int:
    """Run one subcommand."""
    settings = tyro.extras.subcommand_cli_from_dict(
        {"list": List, "export": Export},
        args=arguments,
        prog=prog,
        description="Count and export the stored feedback of a server.",
    )
    return _export(settings) if isinstance(settings, Export) else _list(settings.folder)


def _list(folder: str) -> int:
    counts: defaultdict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    num_damaged = 0
    for _, record in _read(folder):
        if isinstance(record, DamagedRecordError):
            num_damaged += 1
            continue
        count = counts[record.task, record.model, record.verdict]
        count[record.correct] += 1
        count["confirmed"] += record.confirmed_by != UNCONFIRMED
        count["photos"] += record.photo_jpeg is not None
    keys = ("yes", "no", "unknown", "confirmed", "photos")
    rows = [(*answer, *(str(count[key]) for key in keys)) for answer, count in sorted(counts.items())]
    print(text_table([HEADINGS, *rows]))
    total = sum(count[key] for count in counts.values() for key in keys[:3])
    print(f"{total:,} feedbacks in {folder}")
    return _exit_code(num_damaged)


def _export(settings: Export) -> int:
    if settings.out.exists() and (not settings.out.is_dir() or any(settings.out.iterdir())):
        raise FeedbackError(f"{settings.out} is not empty; name a new folder")
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(COLUMNS)
    num_exported, left_out = 0, Counter[str]()
    for name, record in _read(settings.folder):
        if reason := _reason_to_leave_out(record, settings.unconfirmed):
            left_out[reason] += 1
            continue
        assert isinstance(record, FeedbackRecord) and record.photo is not None
        image = f"{PHOTOS}/{name}.jpg"
        storage.write_bytes(str(settings.out / image), record.photo, mode=PRIVATE)
        values = {**record.model_dump(), "image": image, "label": record.diagnosis, "model": record.model}
        writer.writerow(values[column] for column in COLUMNS)
        num_exported += 1
    ordered = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    reasons = "; ".join(f"{number:,} {reason}" for reason, number in ordered)
    if not num_exported:
        raise FeedbackError(
            f"no feedback in {settings.folder} can be exported; left out: {reasons or 'none'}"
        )
    manifest = settings.out / MANIFEST
    storage.write_bytes(str(manifest), table.getvalue().encode(), mode=PRIVATE)
    print(f"wrote {manifest} with {num_exported:,} photos; left out: {reasons or 'none'}")
    print(f"next: skinserve ingest {manifest} {settings.out / 'manifest.parquet'}")
    return _exit_code(left_out[_DAMAGED])


def _reason_to_leave_out(record: FeedbackRecord | DamagedRecordError, unconfirmed: bool) -> str:
    """Return why a record is no row of the manifest, or an empty text."""
    if isinstance(record, DamagedRecordError):
        return _DAMAGED
    if record.photo_jpeg is None:
        return "without a photo"
    if record.diagnosis is None:
        return "without a diagnosis"
    if record.confirmed_by == UNCONFIRMED and not unconfirmed:
        return "not confirmed"
    return ""


def _read(folder: str) -> Iterator[tuple[str, FeedbackRecord | DamagedRecordError]]:
    """Yield the records of a store; print the errors of damaged ones."""
    for name, record in FeedbackStore(folder, max_bytes=0).read_all():
        if isinstance(record, DamagedRecordError):
            print(f"skinserve feedback: {record}; it is left out", file=sys.stderr)
        yield name, record


def _exit_code(num_damaged: int) -> int:
    return EXIT_ROWS_LEFT_OUT if num_damaged else EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
