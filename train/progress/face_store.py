"""A folder of Parquet parts with the faces that ``train.progress.extract_faces`` cropped, local or on S3."""

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
        ("problem", pa.string()),  # why there is no face; empty where there is one
    ]
)
LOST, NO_FACE = "missing", "no_face"
"""Problems beside the codes of ``models.images.PhotoError``."""
FACE_SOURCES = ("face/detector.py", "face/alignment.py", "images.py")
"""Of ``models/``: what decides how a cut face looks."""
logger = logging.getLogger(__name__)


class FaceExtractionError(SkinserveError):
    """Faces cannot be cut or read; the message says why and what to do. What was cut until then is kept."""


def write_part(part: pa.Table, folder: str, *, size_px: int) -> None:
    """Write one part as a whole, beside those that are there.

    Raises:
        models.storage.StorageError: the folder cannot be written.
    """
    metadata = {"size_px": str(size_px), "finder": detector_version()}
    file = io.BytesIO()
    pq.write_table(part.cast(SCHEMA.with_metadata(metadata)), file, compression="zstd")
    storage.write_bytes(storage.join(folder, f"part-{uuid.uuid4().hex}.parquet"), file.getvalue())


def read_records(
    folder: str, *, with_faces: bool = True, size_px: int | None = None
) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what is in the folder by person and image; a photo that was lost at first counts as found later.

    Args:
        folder: local or ``s3://``; one that does not exist is empty.
        with_faces: without them only person, image and problem are read.
        size_px: side that the faces must have; none: whichever, but all the same. Also set, it is filled in.

    Raises:
        FaceExtractionError: a part cannot be read, or has faces of another size.
        models.storage.StorageError: the folder cannot be read.
    """
    records: dict[tuple[str, str], dict[str, Any]] = {}
    versions = set()
    for address in storage.list_files(folder):
        if not fnmatch(address, "*/part-*.parquet"):
            continue
        table, cut_px, version = _read_part(address, None if with_faces else ["person", "image", "problem"])
        versions.add(version)
        size_px = size_px or cut_px
        if cut_px != size_px:
            raise FaceExtractionError(
                f"{address} has faces of {cut_px} px, not {size_px}; choose another folder or --size-px"
            )
        for record in table.to_pylist():
            key = record["person"], record["image"]
            if key not in records or records[key]["problem"] == LOST:
                records[key] = record
    if versions - {detector_version()}:
        logger.warning(
            "%s has faces cut by another version of models/face/detector.py than serves now; if its crops "
            "changed, cut into a new folder",
            folder,
        )
    return records


@functools.cache
def detector_version() -> str:
    """Return the sha256 of the code that cuts."""
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
            f"{address} is damaged or not ours; remove it and run train.progress.extract_faces again"
        ) from error
