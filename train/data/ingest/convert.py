"""A source, its photos and the choices of its owner to a manifest."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from models import storage
from train.data.ingest import checks
from train.data.ingest.entries import Entry
from train.data.ingest.formats import Format, FormatName, entries_of
from train.data.ingest.photos import Checked, Located, PhotoIndex, checked, located
from train.data.ingest.report import Report
from train.data.ingest.source import find_companion, find_source, folder_of
from train.data.ingest.tables import IngestError, Table
from train.data.ingest.vocabulary import Policy
from train.data.manifest import Row, write_manifest


@dataclass(frozen=True, kw_only=True)
class Ingest:
    """Write a manifest from the metadata of a data set, and say what became of every row."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """CSV with the metadata, or the folder that it is in; a path or an s3:// address."""
    manifest: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MANIFEST")]
    """Parquet file to write; a path or an s3:// address."""
    photos: str = ""
    """Folder that holds the photos, directly or deeper; the folder of the source if left out."""
    format: FormatName | None = None
    """Of the source; told by its columns if left out."""
    companion: str = ""
    """Second file of ISIC 2018 (LesionGroupings) or 2019 (Metadata); else looked for beside the source."""
    indeterminate: Policy = "skinsense"
    """What becomes of actinic keratosis, AIMP, atypical melanocytic proliferation and atypical Spitz tumor:
    grouped as SkinSense has them (AIMP benign, the others malignant), left out, or all malignant."""
    licence: str = ""
    """Of the photos whose row names none; the licence of the data set, where we know it, if left out."""
    attribution: str = ""
    """Of the photos whose row names none; likewise."""
    report: str = ""
    """CSV to write with every dropped or changed row, not only the first that are printed."""
    allow_dropped: bool = False
    """End with 0, not 3, when rows were dropped."""
    num_threads: int = 16
    """Photos that are read at once."""

    def __post_init__(self) -> None:
        if self.num_threads < 1:
            raise ValueError(f"num_threads is {self.num_threads}, must be at least 1")


def ingest(settings: Ingest) -> Report:
    """Write the manifest and return what became of the rows.

    Raises:
        IngestError: the source is of no known format, or no row could be kept; no manifest is written.
        models.storage.StorageError: a file cannot be read or written.
    """
    report = Report()
    table, found = find_source(settings.source, settings.format)
    entries = _usable(table, found, settings, report)
    index = PhotoIndex(settings.photos or folder_of(settings.source, table))
    rows = []
    for item, answer in checked(located(entries, index, report), num_threads=settings.num_threads):
        if answer.problem:
            report.drop(item.entry.number, answer.problem)
        else:
            rows.append(_row(item, answer, found, settings))
    report.num_kept = len(rows)
    if settings.report:
        storage.write_bytes(settings.report, report.csv_bytes())
    if not rows:
        raise IngestError(
            f"no row of {table.address} can be used, no manifest was written; {index.num_photos:,} photos "
            f"are under {index.folder}\n{report.text()}"
        )
    write_manifest(rows, settings.manifest, notes=_notes(rows, found, settings))
    report.remarks.append(f"wrote {settings.manifest}: {_counts(rows, found)}{_shares(rows)}")
    return report


def _usable(table: Table, found: Format, settings: Ingest, report: Report) -> list[Entry]:
    """Return the entries that have a diagnosis, where there must be one, and that nothing contradicts."""
    companion = find_companion(table, found, settings.companion)
    if found.companion and companion is None:
        report.remarks.append(
            f"no file with image and {' or '.join(sorted(found.companion))} lies beside {table.name}: every "
            "photo counts as a lesion of its own, two of one may be parted; name the file with --companion"
        )
    entries = checks.without_problems(entries_of(table, found, companion, report), report)
    entries = checks.without_patient_contradictions(entries, report)
    if found.name == "people":
        return entries
    entries = checks.labelled(entries, settings.indeterminate, report)
    return checks.without_label_contradictions(entries, report)


def _row(item: Located, answer: Checked, found: Format, settings: Ingest) -> Row:
    entry = item.entry
    return Row(
        image=item.address,
        label=entry.label,
        patient=entry.patient,
        lesion=entry.lesion,
        person=entry.person,
        age_years=entry.age_years,
        sex=entry.sex,
        site=entry.site,
        skin_type=entry.skin_type,
        licence=entry.licence or settings.licence or found.licence,
        attribution=entry.attribution or settings.attribution or found.attribution,
        thumbnail=answer.thumbnail,
    )


def _notes(rows: Sequence[Row], found: Format, settings: Ingest) -> dict[str, str]:
    """Return what a checkpoint that is trained on these rows must say about them."""
    licences = Counter(row.licence or "not stated" for row in rows)
    named = (
        f"{name} ({num:,} photos)" if len(licences) > 1 else name for name, num in licences.most_common()
    )
    return {
        "format": found.name,
        "indeterminate": settings.indeterminate,
        "licence": ", ".join(named),
        "training_data": f"{found.title}: {_counts(rows, found)}",
    }


def _counts(rows: Sequence[Row], found: Format) -> str:
    """Say how many photos, patients, lesions, people and diagnoses there are."""
    seen = {
        found.patients: {row.patient for row in rows if row.patient},
        "lesions": {row.lesion for row in rows if row.lesion},
        "people": {row.person for row in rows if row.person},
        "diagnoses": {row.label for row in rows if row.label},
    }
    return ", ".join(
        [f"{len(rows):,} photos", *(f"{len(keys):,} {what}" for what, keys in seen.items() if keys)]
    )


def _shares(rows: Sequence[Row]) -> str:
    labels = Counter(row.label for row in rows if row.label)
    listed = ", ".join(f"{label} {num:,}" for label, num in labels.most_common())
    return f" ({listed})" if labels else ""
