"""Read the pictures of an evaluation: photos of a manifest, degraded ones, pictures without a lesion."""

import io
import posixpath
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from PIL import Image

from models.checkpoint import CheckpointMeta
from models.diagnoses import find_diagnosis
from models.image_files.color import to_srgb
from models.images import decode_reduced
from models.limits import PHOTO_FORMATS
from models.storage import MissingError, list_files, parent, read_bytes
from train.data.manifest import Row
from train.data.split import groups_of
from train.lesion.degradations import DEGRADATIONS
from train.lesion.pipeline import Picture
from train.task import EvaluationError

CHUNK_SIZE = 64
"""Files in memory at a time."""
NUM_READERS = 16
"""Threads; most of the time they wait for a disk or for S3."""
DEGRADED_PX = 224
"""Short side of a photo before it is degraded; the lengths in ``DEGRADATIONS`` are for this size."""
_SUFFIXES = tuple(suffix for format in PHOTO_FORMATS for suffix in format.suffixes)


def manifest_pictures(
    rows: Sequence[Row], meta: CheckpointMeta, *, source_B: Sequence[str], unreadable: list[str]
) -> Iterator[Picture]:
    """Yield the photos of a manifest; the name of a picture is the position of its row.

    Args:
        rows: with a diagnosis of the checkpoint.
        meta: of the checkpoint; its groups say which diagnoses are malignant.
        source_B: of each row.
        unreadable: receives the names of missing files.
    """
    pictures = [
        Picture(
            name=str(position),
            source=source,
            group=group,
            data=b"",
            malignant=meta.groups[diagnosis] == "malignant",
            diagnosis=diagnosis,
        )
        for position, (source, group, diagnosis) in enumerate(
            zip(source_B, groups_of(rows), [find_diagnosis(row.label).name for row in rows], strict=True)
        )
    ]
    yield from _read(pictures, [row.image for row in rows], unreadable)


def degraded_pictures(photos: Sequence[Picture], addresses: Sequence[str]) -> Iterator[Picture]:
    """Yield every photo after each degradation, reduced to ``DEGRADED_PX`` first.

    Args:
        photos: readable, in any order and without ``data``.
        addresses: of their files.
    """
    for photo in _read(photos, addresses, []):
        image = _reduced(photo.data)
        for name, change in DEGRADATIONS.items():
            yield replace(photo, data=_encoded(change(image)), degradation=name)


def find_pictures(folder: str) -> list[str]:
    """Return the addresses of all pictures below a folder, by their file names.

    Raises:
        EvaluationError: there is none.
        StorageError: the folder cannot be listed.
    """
    addresses = [address for address in list_files(folder) if address.lower().endswith(_SUFFIXES)]
    if not addresses:
        raise EvaluationError(
            f"{folder} has no picture in a format that the server reads; name a folder with a sub-folder "
            "for each kind of picture without a lesion"
        )
    return addresses


def pictures_without_lesion(
    folder: str, addresses: Sequence[str], *, unreadable: list[str]
) -> Iterator[Picture]:
    """Yield the pictures of ``find_pictures``; the source is the sub-folder, or the folder itself."""
    top = folder.rstrip("/")
    pictures: list[Picture] = []
    for address in addresses:
        inside = posixpath.relpath(address, top)
        kind = inside.split("/")[0] if "/" in inside else posixpath.basename(top) or top
        pictures.append(Picture(name=inside, source=kind, group=inside, data=b"", malignant=None))
    yield from _read(pictures, addresses, unreadable)


def folder_name(row: Row) -> str:
    """Return the name of a photo's folder."""
    return posixpath.basename(parent(row.image))


def _read(pictures: Sequence[Picture], addresses: Sequence[str], missing: list[str]) -> Iterator[Picture]:
    """Yield the pictures with their files; names of missing files are added to ``missing``."""
    with ThreadPoolExecutor(NUM_READERS) as pool:
        for start in range(0, len(pictures), CHUNK_SIZE):
            contents = pool.map(_content, addresses[start : start + CHUNK_SIZE])
            for picture, content in zip(pictures[start : start + CHUNK_SIZE], contents, strict=True):
                if content is None:
                    missing.append(picture.name)
                else:
                    yield replace(picture, data=content)


def _content(address: str) -> bytes | None:
    try:
        return read_bytes(address)
    except MissingError:
        return None


def _reduced(data: bytes) -> Image.Image:
    """Decode a photo, upright, RGB, with a short side of at most ``DEGRADED_PX``."""
    photo = decode_reduced(data, needed_px=DEGRADED_PX)
    image = photo.image
    scale = min(1.0, DEGRADED_PX / min(image.size))
    size = (round(image.width * scale), round(image.height * scale))
    resized = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    return to_srgb(resized, photo.icc_profile).convert("RGB")


def _encoded(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG", compress_level=1)  # without loss
    return content.getvalue()
