"""Where the photos of a source are, and whether each can be read. Axes: H row, W column, C colour."""

import os
import posixpath
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tqdm import tqdm

from models import storage
from models.images import PhotoError, decode_bounded
from train.data.duplicates import thumbnail_of
from train.data.ingest.entries import Entry
from train.data.ingest.report import Report

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_DECODED_PX = 256
"""Long side that photos are decoded to: every byte of the file is read, few pixels are made."""


@dataclass(frozen=True, kw_only=True)
class Located:
    """An entry and the address of its photo."""

    entry: Entry
    address: str


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What reading a photo showed: a thumbnail, or a problem."""

    thumbnail: bytes = b""
    problem: str = ""


class PhotoIndex:
    """All photos of a folder and deeper, found by path, by file name or by name without extension."""

    def __init__(self, folder: str) -> None:
        self.folder = folder if storage.is_remote(folder) else os.path.abspath(folder)
        self._found: dict[str, list[str]] = defaultdict(list)
        self.num_photos = 0
        for address in storage.list_files(self.folder):
            path = address[len(self.folder) :].lstrip("/")
            name = posixpath.basename(path)
            stem, suffix = posixpath.splitext(name)
            if suffix.lower() not in _SUFFIXES or name.startswith("."):
                continue
            self.num_photos += 1
            for key in {path, name, stem}:
                self._found[key].append(address)

    def addresses_of(self, image: str) -> list[str]:
        """Return the addresses that a source's name for a photo may stand for: none, one, or several."""
        if storage.is_remote(image) or posixpath.isabs(image):
            return [image]
        path = posixpath.normpath(image.replace("\\", "/"))
        if path.startswith(
            "../"
        ):  # out of the folder, as lists of photos have it that name them by their way
            return (
                [os.path.normpath(storage.join(self.folder, path))]
                if not storage.is_remote(self.folder)
                else []
            )
        name = posixpath.basename(path)
        stem, suffix = posixpath.splitext(name)
        without_suffix = stem if suffix.lower() in _SUFFIXES else name
        return next((self._found[key] for key in (path, name, without_suffix) if key in self._found), [])


def located(entries: Sequence[Entry], index: PhotoIndex, report: Report) -> list[Located]:
    """Find the photo of every entry; drop what has none, what is ambiguous and what is listed twice."""
    found: list[Located] = []
    for entry in entries:
        addresses = index.addresses_of(entry.image)
        if len(addresses) == 1:
            found.append(Located(entry=entry, address=addresses[0]))
        elif addresses:
            report.drop(entry.number, "several photos have this name")
        else:
            report.drop(entry.number, "photo missing")
    return _listed_once(found, report)


def _listed_once(found: Sequence[Located], report: Report) -> list[Located]:
    rows: dict[str, list[Located]] = defaultdict(list)
    for item in found:
        rows[item.address].append(item)
    kept = []
    for same in rows.values():
        first, *others = same
        if len({_what_it_says(item.entry) for item in same}) > 1:
            for item in same:
                report.drop(item.entry.number, "photo listed more than once, with contradictions")
            continue
        kept.append(first)
        for item in others:
            report.drop(item.entry.number, "photo listed before, with the same label")
    return kept


def _what_it_says(entry: Entry) -> tuple[str, str, str, str]:
    return entry.label, entry.patient, entry.lesion, entry.person


def checked(photos: Sequence[Located], *, num_threads: int) -> Iterator[tuple[Located, Checked]]:
    """Read every photo once; at most one photo a thread is in memory.

    Raises:
        models.storage.StorageError: the storage itself cannot be used (credentials, network); a missing or
            damaged photo is no error but a problem of its row.
    """
    with ThreadPoolExecutor(num_threads) as pool:
        try:
            answers = pool.map(lambda item: _check(item.address), photos)
            bar = tqdm(answers, total=len(photos), desc="photos", unit="photo", disable=None)
            yield from zip(photos, bar, strict=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _check(address: str) -> Checked:
    try:
        content = storage.read_bytes(address)
        image_HWC = decode_bounded(content, max_side_px=_DECODED_PX).image_HWC
    except storage.MissingError:
        return Checked(problem="photo missing")
    except storage.StorageError:
        if storage.is_remote(address):  # a bucket that refuses one photo refuses the next ones too
            raise
        return Checked(problem="photo cannot be read from the disk")
    except PhotoError as error:
        return Checked(problem=f"photo {error.code.replace('_', ' ')}")
    return Checked(thumbnail=thumbnail_of(image_HWC))
