"""Convert the metadata and photos of a data set to a manifest."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from models import storage
from train.data.ingest import checks
from train.data.ingest.entries import Entry
from train.data.ingest.formats import Format, FormatName, entries_of
from train.data.ingest.photos import LocatedPhoto, PhotoCheck, PhotoIndex, check_photos, locate_photos
from train.data.ingest.report import RowReport
from train.data.ingest.source import find_companion, find_source, folder_of
from train.data.ingest.tables import IngestError, Table
from train.data.ingest.vocabulary import Policy
from train.data.manifest import Row, write_manifest

UNPACKED = "unpacked_photos"
"""Folder beside the manifest, for the photos of an HDF5 file."""


@dataclass(frozen=True, kw_only=True)
class Ingest:
    """Write the manifest of a data set; report dropped and changed rows."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """CSV with the metadata, or its folder; a path or an s3:// address."""
    manifest: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MANIFEST")]
    """Parquet file to write; a path or an s3:// address."""
    photos: str = ""
    """Folder of the photos, searched recursively, or an HDF5 file, unpacked beside the manifest; by default
    the folder of the source."""
    format: FormatName | None = None
    """Of the source; by default detected from its columns."""
    companion: str = ""
    """Second file of ISIC 2018 (LesionGroupings) or 2019 (Metadata); by default found beside the source."""
    indeterminate: Policy = "skinsense"
    """Policy for actinic keratosis, AIMP, atypical melanocytic proliferation and atypical Spitz tumor:
    SkinSense's groups (AIMP benign, the others malignant), excluded, or all malignant."""
    licence: str = ""
    """Of photos whose row has none; by default the licence of the data set, where it is known."""
    attribution: str = ""
    """Of photos whose row has none; by default likewise."""
    report: str = ""
    """CSV to write with all dropped and changed rows; only the first are printed."""
    allow_dropped: bool = False
    """Exit with 0 instead of 3 if rows were dropped."""
    num_threads: int = 16
    """Photos read in parallel."""

    def __post_init__(self) -> None:
        if self.num_threads < 1:
            raise ValueError(f"num_threads is {self.num_threads}, must be at least 1")


def ingest(settings: Ingest) -> RowReport:
    """Write the manifest and return the report of its rows.

    Raises:
        IngestError: the format is unknown, or no row is usable; no manifest is written.
        models.storage.StorageError: a file cannot be read or written.
    """
    report = RowReport()
    table, found = find_source(settings.source, settings.format)
    entries = _usable(table, found, settings, report)
    index = PhotoIndex(settings.photos or folder_of(settings.source, table))
    index.unpack_missing(entries, storage.join(storage.parent(settings.manifest), UNPACKED))
    rows = []
    for item, check in check_photos(locate_photos(entries, index, report), num_threads=settings.num_threads):
        if check.problem:
            report.drop(item.entry.number, check.problem)
        else:
            rows.append(_row(item, check, found, settings))
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


def _usable(table: Table, found: Format, settings: Ingest, report: RowReport) -> list[Entry]:
    """Drop contradictory entries and, except in photos of people, entries without a diagnosis."""
    report.remarks += [*table.remarks, *filter(None, (found.remark,))]
    companion = find_companion(table, found, settings.companion)
    if found.companion and companion is None:
        report.remarks.append(
            f"no file with image and {' or '.join(sorted(found.companion))} is beside {table.name}: every "
            "photo counts as a lesion of its own, so photos of one lesion may be in both sets; name the "
            "file with --companion"
        )
    entries = checks.drop_unusable(entries_of(table, found, companion, report), report)
    entries = checks.drop_lesions_of_two_patients(entries, report)
    if found.name == "people":
        return entries
    entries = checks.set_labels(entries, settings.indeterminate, report)
    return checks.drop_lesions_of_two_diagnoses(entries, report)


def _row(item: LocatedPhoto, check: PhotoCheck, found: Format, settings: Ingest) -> Row:
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
        thumbnail=check.thumbnail,
    )


def _notes(rows: Sequence[Row], found: Format, settings: Ingest) -> dict[str, str]:
    """Return the notes for the manifest, which training copies into the checkpoint."""
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
    """Return the numbers of photos, patients, lesions, people and diagnoses as text."""
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
