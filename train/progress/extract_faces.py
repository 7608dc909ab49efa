"""Crop the faces of a manifest's photos once: ``skinserve extract-faces``.

The folder gets Parquet parts, each written as a whole; photos in a part are not processed again.

Axes: H row, W column, C colour.
"""

import logging
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import tyro
from tqdm import tqdm

from models import storage
from models.errors import EXIT_DONE, command
from models.images import PhotoError, decode_bounded
from train.data.followup.times import time_of
from train.data.manifest import ManifestError, Row, read_manifest
from train.progress.face_store import MISSING, NO_FACE, SCHEMA, FaceExtractionError, read_records, write_part
from train.progress.labelled_series import photos_by_person
from train.ray_cluster import ray_cluster

PHOTO_PX = 640
"""Long side of the photos for the face detector, as in serving."""
NUM_READERS = 8
"""Threads of one process that read photos, most of the time waiting for S3."""
BATCH_SIZE = 16
"""Decoded photos in the memory of one process, at most 1.3 MB each."""
STORAGE_ERROR = "storage error: "
"""Prefix of the problem of a part whose photos cannot be read at the moment."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FaceExtraction:
    """Crop the faces of a manifest's photos. The same command again processes only what is missing."""

    manifest: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MANIFEST")]
    """Manifest that names people, such as one of skinserve followup."""
    folder: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """Folder for the Parquet parts, local or s3://."""
    num_actors: int | None = None
    """Processes with a face detector, one CPU each; None: one for each CPU of the cluster."""
    photos_per_part: int = 64
    """Photos of one file, and the most that are lost when a process is killed."""
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
    settings = tyro.cli(FaceExtraction, args=arguments, prog=prog)
    counts = extract_faces(settings)
    problems = "".join(f", {num:,} {problem}" for problem, num in sorted(counts.items()) if problem)
    print(f"{counts.total():,} photos done now, {counts['']:,} with a face{problems}; see {settings.folder}")
    return EXIT_DONE


def extract_faces(settings: FaceExtraction) -> Counter[str]:
    """Crop the missing faces; return the number of photos by problem, "" for none.

    Raises:
        ClusterError: there is no Ray cluster at the address.
        FaceExtractionError: a photo cannot be read at the moment, or the folder has faces of another size.
        ManifestError: the manifest cannot be read or names no people.
        models.storage.StorageError: the folder cannot be read or written.
    """
    rows_by_person = photos_by_person(read_manifest(settings.manifest))
    if not rows_by_person:
        raise ManifestError(f"{settings.manifest} names no person; make it with skinserve followup")
    _log_order(rows_by_person)
    parts = _missing_parts(rows_by_person, settings)
    counts: Counter[str] = Counter()
    if not parts:
        return counts
    num_photos = sum(map(len, parts))
    with (
        ray_cluster(settings.address),
        tqdm(total=num_photos, desc="faces", unit="photo", disable=None) as progress,
    ):
        for part in _extract_with_actors(parts, settings):
            _, is_error, reason = part["problem"][0].as_py().partition(STORAGE_ERROR)
            if is_error:
                raise FaceExtractionError(f"{reason}; {_resume_hint(settings)}")
            write_part(part, settings.folder, size_px=settings.size_px)
            counts.update(part["problem"].to_pylist())
            progress.update(len(part))
    return counts


class FaceExtractor:
    """Read photos and crop their faces as serving does; one runs in each actor of the pool."""

    def __init__(self, size_px: int) -> None:
        from models.face.detector import MtcnnFaceDetector  # the driver process needs no ONNX Runtime

        self._detect = MtcnnFaceDetector(size_px=size_px, num_threads=1)

    def __call__(self, part: pa.Table) -> pa.Table:
        """Fill the columns face and problem of one part; a storage error fills every problem."""
        try:
            return self._filled(part)
        except storage.StorageError as error:  # as data: Ray wraps exceptions in tracebacks
            problems = [f"{STORAGE_ERROR}{error}"] * len(part)
            return pa.table(part.to_pydict() | {"problem": problems}, schema=SCHEMA)

    def _filled(self, part: pa.Table) -> pa.Table:
        images = part["image"].to_pylist()
        faces: list[bytes | None] = []
        problems: list[str] = []
        with ThreadPoolExecutor(NUM_READERS) as pool:
            for start in range(0, len(images), BATCH_SIZE):
                decoded = list(pool.map(_decode, images[start : start + BATCH_SIZE]))
                detected = iter(self._detect([photo for photo in decoded if not isinstance(photo, str)]))
                for photo in decoded:
                    face = None if isinstance(photo, str) else next(detected)
                    faces.append(face.crop_HWC.tobytes() if face else None)
                    problems.append(photo if isinstance(photo, str) else "" if face else NO_FACE)
        return pa.table(part.to_pydict() | {"face": faces, "problem": problems}, schema=SCHEMA)


def _decode(image: str) -> np.ndarray | str:
    """Return the pixels of a photo, or a permanent problem; a temporary one raises StorageError."""
    try:
        return decode_bounded(storage.read_bytes(image), max_side_px=PHOTO_PX).image_HWC
    except storage.MissingError:
        return MISSING
    except PhotoError as error:
        return error.code


def _missing_parts(rows_by_person: dict[str, list[Row]], settings: FaceExtraction) -> list[pa.Table]:
    """Return the photos that are not in the folder, or were missing then and exist now."""
    done = read_records(settings.folder, with_faces=False, size_px=settings.size_px)
    items: list[dict[str, Any]] = []
    for person, own in rows_by_person.items():
        for position, row in enumerate(own):
            before = done.get((person, row.image))
            if before is None or (before["problem"] == MISSING and storage.exists(row.image)):
                item = {name: getattr(row, name) for name in ("taken_at", "image", "name", "improvement")}
                items.append(item | {"person": person, "position": position})
    starts = range(0, len(items), settings.photos_per_part)
    return [pa.Table.from_pylist(items[i : i + settings.photos_per_part], schema=SCHEMA) for i in starts]


def _extract_with_actors(parts: list[pa.Table], settings: FaceExtraction) -> Iterator[pa.Table]:
    """Yield the parts as they are finished, in any order."""
    import ray.data
    from ray.exceptions import RayError

    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    num_actors = settings.num_actors or int(ray.cluster_resources().get("CPU", 1))
    faces = ray.data.from_arrow(parts).map_batches(  # each part stays one block
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
        reason = str(error).strip().partition("\n")[0]
        raise FaceExtractionError(
            f"Ray failed ({type(error).__name__}: {reason}); {_resume_hint(settings)}"
        ) from error


def _resume_hint(settings: FaceExtraction) -> str:
    return f"extracted faces are kept in {settings.folder}, the same command resumes"


def _log_order(rows_by_person: dict[str, list[Row]]) -> None:
    undated = tied = 0
    for own in rows_by_person.values():
        times = [time_of(row.taken_at) for row in own]
        undated += None in times
        tied += len(set(times) - {None}) < sum(time is not None for time in times)
    num_people = len(rows_by_person)
    if undated:
        log.warning("%d of %d people have photos without a time; these come last", undated, num_people)
    if tied:
        log.warning(
            "%d of %d people have photos of the same time; these keep the order of the manifest",
            tied,
            num_people,
        )


if __name__ == "__main__":
    sys.exit(main())
