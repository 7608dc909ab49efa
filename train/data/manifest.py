"""The manifest: one Parquet file of photos with their labels and groups.

``skinserve ingest`` and ``skinserve followup`` write it; training reads it.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from models import storage
from models.errors import SkinserveError

_NOTES = b"skinserve"
"""Key of the notes in the Parquet schema's metadata."""


class ManifestError(SkinserveError):
    """Report a manifest that cannot be used."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One photo; an empty text means that the source has no value."""

    image: str
    """Absolute path or ``s3://`` address; the file stores it relative to its folder where possible."""
    label: str
    """A diagnosis of ``models.diagnoses``, "improved" or "worsened" of a follow-up photo, or empty."""
    patient: str = ""
    lesion: str = ""
    person: str = ""
    age_years: float | None = None
    """85 means 85 and older."""
    sex: str = ""
    """"female" or "male"."""
    site: str = ""
    """On the body, in lower case, as the source names it."""
    skin_type: str = ""
    """Fitzpatrick, "I" to "VI"; a pair such as "I-II" in DDI."""
    taken_at: str = ""
    """ISO 8601."""
    improvement: float | None = None
    """Of a follow-up photo: probability that the person improved, equal in all rows of the person."""
    labeller: str = ""
    """Origin of a follow-up label: "comprehend", "vader" or "hand"."""
    label_scores: str = ""
    """The labeller's scores as JSON."""
    licence: str = ""
    attribution: str = ""
    thumbnail: bytes = field(default=b"", repr=False)
    """``train.data.duplicates.thumbnail_of`` the photo."""

    @property
    def name(self) -> str:
        """File name of the photo, without folder and extension."""
        return PurePosixPath(self.image).stem


class Manifest(NamedTuple):
    """Rows and notes of a manifest file."""

    rows: list[Row]
    notes: dict[str, str]
    """Source format, policy for indeterminate lesions, licence and description of the data."""


_TYPES = {"age_years": pa.float64(), "improvement": pa.float64(), "thumbnail": pa.binary()}
_EMPTY = {"age_years": None, "improvement": None, "thumbnail": b""}
_SCHEMA = pa.schema([(field.name, _TYPES.get(field.name, pa.string())) for field in fields(Row)])


def read_manifest(address: str | Path) -> list[Row]:
    """Read the rows of a manifest; see ``load_manifest``."""
    return load_manifest(address).rows


def load_manifest(address: str | Path) -> Manifest:
    """Read the rows and notes of a manifest without opening the photos.

    Raises:
        ManifestError: the file or a column is missing, or it is no Parquet file.
        models.storage.StorageError: the bucket cannot be read.
    """
    address = str(address)
    file = _open(address)
    missing = [name for name in _SCHEMA.names if name not in file.schema_arrow.names]
    if missing:
        raise ManifestError(
            f"{address} has no column {', '.join(missing)}; make it again with skinserve ingest"
        )
    table = file.read(columns=_SCHEMA.names)
    folder = _real_folder(address)
    columns = {
        name: [_EMPTY.get(name, "") if value is None else value for value in table.column(name).to_pylist()]
        for name in _SCHEMA.names
    }
    columns["image"] = [_absolute(image, folder) for image in columns["image"]]
    rows = [Row(**dict(zip(columns, values, strict=True))) for values in zip(*columns.values(), strict=True)]
    return Manifest(rows=rows, notes=_notes_of(file))


def write_manifest(
    rows: Iterable[Row], address: str | Path, *, notes: Mapping[str, str] | None = None
) -> None:
    """Write rows and notes.

    Raises:
        models.storage.StorageError: the file or object cannot be written.
    """
    address = str(address)
    folder = _real_folder(address)
    rows = list(rows)
    columns = {name: [getattr(row, name) for row in rows] for name in _SCHEMA.names}
    columns["image"] = [_relative(row.image, folder) for row in rows]
    schema = _SCHEMA.with_metadata({_NOTES: json.dumps(dict(notes or {}))})
    file = io.BytesIO()
    pq.write_table(pa.table(columns, schema=schema), file, compression="zstd")
    storage.write_bytes(address, file.getvalue())


def fingerprint_of(train: Sequence[Row], val: Sequence[Row]) -> str:
    """Return the sha256 over rows and sets, independent of order and folder."""
    lines = sorted(
        json.dumps([side, row.name, row.label, row.patient, row.lesion, row.person])
        for side, part in (("train", train), ("val", val))
        for row in part
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _notes_of(file: pq.ParquetFile) -> dict[str, str]:
    notes = json.loads((file.schema_arrow.metadata or {}).get(_NOTES, b"{}"))
    return {str(key): str(value) for key, value in notes.items()}


def _open(address: str) -> pq.ParquetFile:
    try:
        content = storage.read_bytes(address)
    except storage.MissingError as error:
        raise ManifestError(f"no manifest at {address} ({error}); make one with skinserve ingest") from error
    try:
        return pq.ParquetFile(pa.BufferReader(content))
    except pa.ArrowInvalid as error:
        raise ManifestError(
            f"{address} is no Parquet file; make the manifest again with skinserve ingest"
        ) from error


def _real_folder(address: str) -> str:
    folder = storage.parent(address)
    return folder if storage.is_remote(folder) else os.path.realpath(folder)


def _relative(image: str, folder: str) -> str:
    if storage.is_remote(image):
        inside = image.removeprefix(f"{folder}/")
        return image if inside.startswith("/") else inside  # a key may contain two slashes
    if storage.is_remote(folder):
        return os.path.abspath(image)
    # Only the folder is resolved: a link may have the photo's name and its target another.
    parent, name = os.path.split(image)
    return os.path.relpath(os.path.join(os.path.realpath(parent), name), folder)


def _absolute(image: str, folder: str) -> str:
    address = storage.join(folder, image)
    return address if storage.is_remote(address) else os.path.normpath(address)
