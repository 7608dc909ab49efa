"""Labelled series of people from the faces that ``skinserve extract-faces`` stored.

Axes: T photo, H row, W column, C colour.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from train.data.followup.times import time_of
from train.data.manifest import Row
from train.progress.face_store import FaceExtractionError, read_records
from train.progress.series import Series

MIN_FACES = 2
MAX_PHOTOS = 30
"""Of a series, as in serving."""
log = logging.getLogger(__name__)


def read_series(folder: str | Path, rows: Sequence[Row]) -> list[Series]:
    """Return the faces of each person in order of time; photos without a face are absent.

    People with fewer than two faces or without a label are skipped and counted in the log. A series with more
    photos than serving accepts keeps the first, the last and others evenly spaced in between.

    Args:
        folder: written by ``skinserve extract-faces``.
        rows: of the manifest, for the photos, their order and the labels.

    Raises:
        FaceExtractionError: photos of these rows are missing in the folder, or it is damaged.
        models.storage.StorageError: the folder cannot be read.
    """
    records = read_records(str(folder))
    rows_by_person = photos_by_person(rows)
    missing = sum((person, row.image) not in records for person, own in rows_by_person.items() for row in own)
    if missing:
        raise FaceExtractionError(
            f"{missing:,} photos are not in {folder}; run skinserve extract-faces with this manifest"
        )
    series: list[Series] = []
    counts: Counter[str] = Counter()
    for person, own in rows_by_person.items():
        positions = np.linspace(0, len(own) - 1, min(len(own), MAX_PHOTOS)).round().astype(int)
        faces = [records[person, own[position].image]["face"] for position in positions]
        improvement = own[0].improvement
        if improvement is None:
            counts["skipped, without a label"] += 1
        elif sum(face is not None for face in faces) < MIN_FACES:
            counts[f"skipped, with fewer than {MIN_FACES} faces"] += 1
        else:
            counts[f"with more than {MAX_PHOTOS} photos, shortened"] += len(positions) < len(own)
            series.append(_series(person, improvement, faces))
    for what, count in counts.items():
        if count:
            log.warning("%s: %d of %d people %s", folder, count, len(rows_by_person), what)
    return series


def photos_by_person(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return each person's photos in order of time.

    Photos without a time come last; photos of the same time keep the order of the manifest.
    """
    by_person: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.person:
            by_person[row.person].append(row)
    last = datetime.max.replace(tzinfo=UTC)
    return {
        person: sorted(own, key=lambda row: time_of(row.taken_at) or last)
        for person, own in by_person.items()
    }


def _series(person: str, improvement: float, faces: Sequence[bytes | None]) -> Series:
    size_px = round((max(len(face) for face in faces if face) // 3) ** 0.5)
    photos_THWC = np.zeros((len(faces), size_px, size_px, 3), np.uint8)
    for photo_HWC, face in zip(photos_THWC, faces, strict=True):
        if face is not None:
            photo_HWC[:] = np.frombuffer(face, np.uint8).reshape(size_px, size_px, 3)
    return Series(
        photos_THWC=photos_THWC,
        present_T=np.array([face is not None for face in faces]),
        improvement_T=np.full(len(faces), improvement, np.float32),
        person=person,
    )
