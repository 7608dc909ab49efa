"""Locate the photos of a source and check that they can be decoded. Axes: H row, W column, C colour."""

import os
import posixpath
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tqdm import tqdm

from models import storage
from models.images import PhotoError, decode_bounded
from models.limits import PHOTO_FORMATS
from train.data.duplicates import thumbnail_of
from train.data.ingest.entries import Entry
from train.data.ingest.report import RowReport

_SUFFIXES = tuple(suffix for format in PHOTO_FORMATS for suffix in format.suffixes)
_DECODED_PX = 256
"""Long side of decoded photos: the whole file is read, at little cost."""


@dataclass(frozen=True, kw_only=True)
class LocatedPhoto:
    """An entry and the address of its photo."""

    entry: Entry
    address: str


@dataclass(frozen=True, kw_only=True)
class PhotoCheck:
    """Result of decoding a photo: a thumbnail, or a problem."""

    thumbnail: bytes = b""
    problem: str = ""


class PhotoIndex:
    """Index the photos under a folder by path, file name and stem."""

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
        """Return all addresses that match a source's name for a photo."""
        if storage.is_remote(image) or posixpath.isabs(image):
            return [image]
        path = posixpath.normpath(image.replace("\\", "/"))
        if path.startswith("../"):  # lists of photos may contain paths relative to themselves
            inside = storage.is_remote(self.folder)
            return [] if inside else [os.path.normpath(storage.join(self.folder, path))]
        name = posixpath.basename(path)
        stem, suffix = posixpath.splitext(name)
        without_suffix = stem if suffix.lower() in _SUFFIXES else name
        return next((self._found[key] for key in (path, name, without_suffix) if key in self._found), [])


def locate_photos(entries: Sequence[Entry], index: PhotoIndex, report: RowReport) -> list[LocatedPhoto]:
    """Find the photo of every entry; drop missing, ambiguous and repeated ones."""
    found: list[LocatedPhoto] = []
    for entry in entries:
        addresses = index.addresses_of(entry.image)
        if len(addresses) == 1:
            found.append(LocatedPhoto(entry=entry, address=addresses[0]))
        elif addresses:
            report.drop(entry.number, "several photos have this name")
        else:
            report.drop(entry.number, "photo missing")
    return _listed_once(found, report)


def _listed_once(found: Sequence[LocatedPhoto], report: RowReport) -> list[LocatedPhoto]:
    by_address: dict[str, list[LocatedPhoto]] = defaultdict(list)
    for item in found:
        by_address[item.address].append(item)
    kept = []
    for same in by_address.values():
        first, *others = same
        if len({_labels_and_groups(item.entry) for item in same}) > 1:
            for item in same:
                report.drop(item.entry.number, "photo listed more than once, with contradictions")
            continue
        kept.append(first)
        for item in others:
            report.drop(item.entry.number, "photo listed before, with the same label")
    return kept


def _labels_and_groups(entry: Entry) -> tuple[str, str, str, str]:
    return entry.label, entry.patient, entry.lesion, entry.person


def check_photos(
    photos: Sequence[LocatedPhoto], *, num_threads: int
) -> Iterator[tuple[LocatedPhoto, PhotoCheck]]:
    """Decode every photo and yield its result; memory holds one photo per thread.

    Raises:
        models.storage.StorageError: the storage cannot be used (credentials, network). A missing or damaged
            photo is a problem of its row.
    """
    with ThreadPoolExecutor(num_threads) as pool:
        try:
            results = pool.map(lambda item: _check(item.address), photos)
            bar = tqdm(results, total=len(photos), desc="photos", unit="photo", disable=None)
            yield from zip(photos, bar, strict=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _check(address: str) -> PhotoCheck:
    try:
        content = storage.read_bytes(address)
        image_HWC = decode_bounded(content, max_side_px=_DECODED_PX).image_HWC
    except storage.MissingError:
        return PhotoCheck(problem="photo missing")
    except storage.StorageError:
        if storage.is_remote(address):  # the next photos of this bucket would fail too
            raise
        return PhotoCheck(problem="photo cannot be read from the disk")
    except PhotoError as error:
        return PhotoCheck(problem=f"photo {error.code.replace('_', ' ')}")
    return PhotoCheck(thumbnail=thumbnail_of(image_HWC))
