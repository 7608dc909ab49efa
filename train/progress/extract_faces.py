"""Crop the faces of a manifest's photos once: ``skinserve extract-faces``.

The folder gets Parquet parts, each written as a whole; what is in a part is never done again.

Axes: T photo, H row, W column, C colour.
"""

import logging
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import tyro
from tqdm import tqdm

from models import storage
from models.errors import EXIT_DONE, command
from models.images import PhotoError, decode_bounded
from train.data.followup.source import time_of
from train.data.manifest import ManifestError, Row, read_manifest
from train.progress.face_store import LOST, NO_FACE, SCHEMA, FaceExtractionError, read_records, write_part
from train.progress.series import Series
from train.ray_cluster import ray_cluster

PHOTO_PX = 640
"""Long side of the photos in which faces are searched, as in serving."""
MIN_FACES = 2
MAX_PHOTOS = 30
"""Of a series, as in serving."""
NUM_READERS = 8
"""Threads of one process that read photos, most of the time waiting for S3."""
BATCH_SIZE = 16
"""Photos that one process holds decoded at a time, at most 1.3 MB each."""
TROUBLE = "trouble: "
"""Begins the problem of photos that could not be looked at just now."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Cut the faces out of a manifest's photos. The same command again does only what is missing."""

    manifest: Annotated[str, tyro.conf.Positional]
    """Made by skinserve followup; every manifest that names people will do."""
    folder: Annotated[str, tyro.conf.Positional]
    """For the Parquet parts, local or s3://."""
    num_actors: int | None = None
    """Processes that search for faces, one CPU each; none: one for each CPU of the cluster."""
    photos_per_part: int = 64
    """Photos of one file, and the most that a process loses when it is killed."""
    size_px: int = 80
    """Side of the faces."""
    address: str = "local"
    """local starts Ray on this machine; auto or host:port joins a Ray cluster."""

    def __post_init__(self) -> None:
        num_actors = 1 if self.num_actors is None else self.num_actors
        if min(self.photos_per_part, self.size_px, num_actors) < 1:
            raise ValueError("num_actors, photos_per_part and size_px must be positive")


@command("skinserve extract-faces", when_stopped="stopped; the same command resumes")
def main(prog: str, arguments: Sequence[str] | None) -> int:
    """Crop the missing faces and print the counts."""
    settings = tyro.cli(Cut, args=arguments, prog=prog)
    found = cut(settings)
    problems = "".join(f", {num:,} {problem}" for problem, num in sorted(found.items()) if problem)
    print(f"{found.total():,} photos done now, {found['']:,} with a face{problems}; see {settings.folder}")
    return EXIT_DONE


def cut(settings: Cut) -> Counter[str]:
    """Cut the faces that are not in the folder yet; return how many photos had which problem, "" for none.

    Raises:
        ClusterError: there is no Ray at the address.
        FaceExtractionError: a photo cannot be had just now, or the folder has faces of another size.
        ManifestError: the manifest cannot be read or names no people.
        models.storage.StorageError: the folder cannot be read or written.
    """
    ordered = in_order(read_manifest(settings.manifest))
    if not ordered:
        raise ManifestError(f"{settings.manifest} names no person; make it with skinserve followup")
    _report_order(ordered)
    parts = _missing_parts(ordered, settings)
    found: Counter[str] = Counter()
    if not parts:
        return found
    num_photos = sum(map(len, parts))
    with (
        ray_cluster(settings.address),
        tqdm(total=num_photos, desc="faces", unit="photo", disable=None) as progress,
    ):
        for part in _cut_by_actors(parts, settings):
            trouble = part["problem"][0].as_py().partition(TROUBLE)[2]
            if trouble:
                raise FaceExtractionError(f"{trouble}; {_kept(settings)}")
            write_part(part, settings.folder, size_px=settings.size_px)
            found.update(part["problem"].to_pylist())
            progress.update(len(part))
    return found


def read_series(folder: str | Path, rows: Sequence[Row]) -> list[Series]:
    """Return the faces of each person in order of time; a photo without a face is absent at its place.

    People with fewer than two faces or without a label are left out, and their number is logged. Of a series
    with more photos than serving accepts, the first, the last and others evenly spread in between remain.

    Args:
        folder: made by ``skinserve extract-faces``.
        rows: of a manifest; they say whose photos count, in which order, and how the person did.

    Raises:
        FaceExtractionError: photos of these rows were not looked at yet, or the folder is damaged.
        models.storage.StorageError: the folder cannot be read.
    """
    faces = read_records(str(folder))
    ordered = in_order(rows)
    uncut = sum((person, row.image) not in faces for person, own in ordered.items() for row in own)
    if uncut:
        raise FaceExtractionError(
            f"{uncut:,} photos are not in {folder}; run skinserve extract-faces with this manifest"
        )
    series: list[Series] = []
    noted: Counter[str] = Counter()
    for person, own in ordered.items():
        places = np.linspace(0, len(own) - 1, min(len(own), MAX_PHOTOS)).round().astype(int)
        found = [faces[person, own[place].image]["face"] for place in places]
        improvement = own[0].improvement
        if improvement is None:
            noted["left out, without a label"] += 1
        elif sum(face is not None for face in found) < MIN_FACES:
            noted[f"left out, with fewer than {MIN_FACES} faces"] += 1
        else:
            noted[f"with more than {MAX_PHOTOS} photos, shortened"] += len(places) < len(own)
            series.append(_series(person, improvement, found))
    for what, num in noted.items():
        if num:
            logger.warning("%s: %d of %d people %s", folder, num, len(ordered), what)
    return series


def in_order(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return each person's photos by time; those without one come last, equals stay as in the manifest."""
    rows_of: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.person:
            rows_of[row.person].append(row)
    at_the_end = datetime.max.replace(tzinfo=UTC)
    return {
        person: sorted(own, key=lambda row: time_of(row.taken_at) or at_the_end)
        for person, own in rows_of.items()
    }


class FaceExtractor:
    """Reads photos and cuts their faces as serving does; Ray keeps one in each process of the pool."""

    def __init__(self, size_px: int) -> None:
        from models.face.detector import (
            MtcnnFaceDetector,  # here: the process that hands out the work needs no torch
        )

        self._find = MtcnnFaceDetector(size_px=size_px, num_threads=1)

    def __call__(self, part: pa.Table) -> pa.Table:
        """Fill the columns face and problem of one part; trouble that may pass is every photo's problem."""
        try:
            return self._filled(part)
        except storage.StorageError as error:  # said as data: Ray wraps errors beyond recognition
            return pa.table(part.to_pydict() | {"problem": [f"{TROUBLE}{error}"] * len(part)}, schema=SCHEMA)

    def _filled(self, part: pa.Table) -> pa.Table:
        images = part["image"].to_pylist()
        faces: list[bytes | None] = []
        problems: list[str] = []
        with ThreadPoolExecutor(NUM_READERS) as pool:
            for start in range(0, len(images), BATCH_SIZE):
                decoded = list(pool.map(_decode, images[start : start + BATCH_SIZE]))
                found = iter(self._find([photo for photo in decoded if not isinstance(photo, str)]))
                for photo in decoded:
                    face = None if isinstance(photo, str) else next(found)
                    faces.append(face.crop_HWC.tobytes() if face else None)
                    problems.append(photo if isinstance(photo, str) else "" if face else NO_FACE)
        return pa.table(part.to_pydict() | {"face": faces, "problem": problems}, schema=SCHEMA)


def _decode(image: str) -> np.ndarray | str:
    """Return the pixels of a photo, or why there are none for good; trouble that may pass is raised."""
    try:
        return decode_bounded(storage.read_bytes(image), max_side_px=PHOTO_PX).image_HWC
    except storage.MissingError:
        return LOST
    except PhotoError as error:
        return error.code


def _missing_parts(ordered: dict[str, list[Row]], settings: Cut) -> list[pa.Table]:
    """Return what is to be cut: not in the folder yet, or lost then and there now."""
    done = read_records(settings.folder, with_faces=False, size_px=settings.size_px)
    items: list[dict[str, Any]] = []
    for person, own in ordered.items():
        for position, row in enumerate(own):
            before = done.get((person, row.image))
            if before is None or (before["problem"] == LOST and storage.exists(row.image)):
                item = {name: getattr(row, name) for name in ("taken_at", "image", "name", "improvement")}
                items.append(item | {"person": person, "position": position})
    starts = range(0, len(items), settings.photos_per_part)
    return [pa.Table.from_pylist(items[i : i + settings.photos_per_part], schema=SCHEMA) for i in starts]


def _cut_by_actors(parts: list[pa.Table], settings: Cut) -> Iterator[pa.Table]:
    """Yield the parts as they are finished, in whatever order."""
    import ray.data
    from ray.exceptions import RayError

    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    num_actors = settings.num_actors or int(ray.cluster_resources().get("CPU", 1))
    faces = ray.data.from_arrow(parts).map_batches(  # each part is a block, and stays one
        FaceExtractor,  # pyright: ignore[reportArgumentType]
        fn_constructor_kwargs={"size_px": settings.size_px},
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=min(num_actors, len(parts))),
        num_cpus=1,
    )
    try:
        yield from faces.iter_batches(batch_size=None, batch_format="pyarrow")  # pyright: ignore[reportReturnType]
    except RayError as error:
        what = str(error).strip().partition("\n")[0]
        raise FaceExtractionError(
            f"Ray failed ({type(error).__name__}: {what}); {_kept(settings)}"
        ) from error


def _kept(settings: Cut) -> str:
    return f"what was cut is kept in {settings.folder}, the same command goes on"


def _report_order(ordered: dict[str, list[Row]]) -> None:
    undated = tied = 0
    for own in ordered.values():
        times = [time_of(row.taken_at) for row in own]
        undated += None in times
        tied += len(set(times) - {None}) < sum(time is not None for time in times)
    if undated:
        logger.warning("%d of %d people have photos without a time; these come last", undated, len(ordered))
    if tied:
        logger.warning(
            "%d of %d people have photos of the same time; these stay as in the manifest", tied, len(ordered)
        )


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


if __name__ == "__main__":
    sys.exit(main())
