"""A folder of Parquet parts, local or on S3, with the faces that ``skinserve extract-faces`` cropped."""

import functools
import hashlib
import io
import logging
import uuid
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import models
from models import storage
from models.errors import SkinserveError

SCHEMA = pa.schema(
    [
        ("person", pa.string()),
        ("position", pa.int32()),
        ("taken_at", pa.string()),
        ("image", pa.string()),
        ("name", pa.string()),
        ("improvement", pa.float64()),
        ("face", pa.binary()),  # uint8 (size_px, size_px, 3), or null
        ("problem", pa.string()),  # reason for a missing face, else empty
    ]
)
MISSING, NO_FACE = "missing", "no_face"
"""Problems besides the codes of ``models.images.PhotoError``."""
FACE_SOURCES = (
    "face/detector.py",
    "face/alignment.py",
    "images.py",
    "image_files/avif.py",
    "image_files/color.py",
    "image_files/exif.py",
    "image_files/heic.py",
    "image_files/jpeg.py",
    "image_files/jpeg2000.py",
    "image_files/png.py",
    "image_files/tiff.py",
)
"""Files of ``models/`` that determine the pixels of a crop."""
log = logging.getLogger(__name__)


class FaceExtractionError(SkinserveError):
    """Faces cannot be extracted or read; faces extracted before are kept."""


def write_part(part: pa.Table, folder: str, *, size_px: int) -> None:
    """Write one part as a whole, beside existing parts.

    Raises:
        models.storage.StorageError: the folder cannot be written.
    """
    metadata = {"size_px": str(size_px), "finder": detector_version()}  # the key of format version 1
    file = io.BytesIO()
    pq.write_table(part.cast(SCHEMA.with_metadata(metadata)), file, compression="zstd")
    storage.write_bytes(storage.join(folder, f"part-{uuid.uuid4().hex}.parquet"), file.getvalue())


def read_records(
    folder: str, *, with_faces: bool = True, size_px: int | None = None
) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the latest record of each photo in a folder by person and image.

    Args:
        folder: local or ``s3://``; a missing folder is empty.
        with_faces: False reads person, image and problem only.
        size_px: required side of the faces; None: that of the first part.

    Raises:
        FaceExtractionError: a part cannot be read, or has faces of another size.
        models.storage.StorageError: the folder cannot be read.
    """
    records: dict[tuple[str, str], dict[str, Any]] = {}
    versions = set()
    for address in storage.list_files(folder):
        if not fnmatch(address, "*/part-*.parquet"):
            continue
        table, part_px, version = _read_part(address, None if with_faces else ["person", "image", "problem"])
        versions.add(version)
        size_px = size_px or part_px
        if part_px != size_px:
            raise FaceExtractionError(
                f"{address} has faces of {part_px} px, not {size_px}; choose another folder or --size-px"
            )
        for record in table.to_pylist():
            key = record["person"], record["image"]
            if key not in records or records[key]["problem"] == MISSING:
                records[key] = record
    if versions - {detector_version()}:
        log.warning(
            "%s has faces of another version of models/face/detector.py; if its crops changed, extract them "
            "into a new folder",
            folder,
        )
    return records


@functools.cache
def detector_version() -> str:
    """Return the sha256 of the code that crops faces."""
    sources = [Path(folder) / name for folder in models.__path__ for name in FACE_SOURCES]
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


def _read_part(address: str, columns: list[str] | None) -> tuple[pa.Table, int, str]:
    content = storage.read_bytes(address)
    try:
        part = pq.ParquetFile(pa.BufferReader(content))
        metadata = part.schema_arrow.metadata or {}
        size_px, version = int(metadata[b"size_px"]), metadata[b"finder"].decode()
        return part.read(columns=columns), size_px, version
    except (pa.ArrowException, KeyError, ValueError, OSError) as error:
        raise FaceExtractionError(
            f"{address} is damaged or not a part of faces; remove it and run skinserve extract-faces again"
        ) from error
