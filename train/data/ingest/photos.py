"""Locate the photos of a source and check that they can be decoded. Axes: H row, W column, C colour."""

import hashlib
import os
import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tqdm import tqdm

from models import storage
from models.images import PhotoError, decode_bounded
from models.limits import PHOTO_FORMATS
from train.data.duplicates import thumbnail_of
from train.data.ingest import hdf5_photos
from train.data.ingest.entries import Entry
from train.data.ingest.report import RowReport

SUFFIXES = tuple(suffix for format in PHOTO_FORMATS for suffix in format.suffixes)
_NUM_READERS = 16
"""Threads that compare files; reads from S3 are slow."""
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
        self.folder = folder.rstrip("/") if storage.is_remote(folder) else os.path.abspath(folder)
        self._found: defaultdict[str, list[str]] = defaultdict(list)
        self._found_folded: dict[str, list[str]] | None = None
        self._containers = [folder] if folder.lower().endswith(hdf5_photos.SUFFIXES) else []
        self.num_photos = 0
        for address in storage.list_files(self.folder):
            self._add(address, address[len(self.folder) :].lstrip("/"))

    def _add(self, address: str, path: str) -> None:
        name = posixpath.basename(path)
        stem, suffix = posixpath.splitext(name)
        if name.startswith("."):
            return
        if suffix.lower() in hdf5_photos.SUFFIXES:
            self._containers.append(address)
        if suffix.lower() not in SUFFIXES:
            return
        self.num_photos += 1
        self._found_folded = None
        for key in {path, name, stem}:
            self._found[key].append(address)

    def unpack_missing(self, entries: Sequence[Entry], folder: str) -> None:
        """Unpack photos that only an HDF5 file holds into a folder, and index them.

        Raises:
            IngestError: the file is no HDF5.
            models.storage.StorageError: it cannot be read, or a photo cannot be written.
        """
        for container in self._containers:
            missing = [entry.image for entry in entries if not self.addresses_of(entry.image)]
            for address in hdf5_photos.unpack_photos(container, missing, folder):
                self._add(address, posixpath.basename(address))

    def addresses_of(self, image: str) -> list[str]:
        """Return all addresses that match a source's name for a photo.

        A name that differs only in case or in the form of its accents (NFC, NFD) matches if no other does.
        """
        if storage.is_remote(image) or posixpath.isabs(image):
            inside = image.startswith(f"{self.folder}/")
            return (self._lookup(image[len(self.folder) + 1 :]) if inside else []) or [image]
        path = posixpath.normpath(image.replace("\\", "/"))
        if path.startswith("../"):  # lists of photos may contain paths relative to themselves
            inside = storage.is_remote(self.folder)
            return [] if inside else [os.path.normpath(storage.join(self.folder, path))]
        name = posixpath.basename(path)
        stem, suffix = posixpath.splitext(name)
        return self._lookup(path, name, stem if suffix.lower() in SUFFIXES else name)

    def _lookup(self, *keys: str) -> list[str]:
        """Return the addresses of the first key that matches exactly, else after case folding."""
        found = next((self._found[key] for key in keys if key in self._found), None)
        if found is not None:
            return found
        if self._found_folded is None:
            folded: defaultdict[str, dict[str, None]] = defaultdict(dict)
            for key, addresses in self._found.items():
                folded[_folded(key)].update(dict.fromkeys(addresses))
            self._found_folded = {key: list(addresses) for key, addresses in folded.items()}
        keys = tuple(map(_folded, keys))
        return next((self._found_folded[key] for key in keys if key in self._found_folded), [])


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def locate_photos(entries: Sequence[Entry], index: PhotoIndex, report: RowReport) -> list[LocatedPhoto]:
    """Find the photo of every entry; drop missing, ambiguous and repeated ones.

    Several files of one name and the same content are one photo, as in HAM10000 on Kaggle.
    """
    addresses = [tuple(index.addresses_of(entry.image)) for entry in entries]
    several = list({each for each in addresses if len(each) > 1})
    with ThreadPoolExecutor(_NUM_READERS) as pool:
        copies = pool.map(_have_same_content, several)
        same = {each for each, is_same in zip(several, copies, strict=True) if is_same}
    if same:
        report.remarks.append(
            f"{len(same):,} photos exist in several files of the same content; each counts once"
        )
    found: list[LocatedPhoto] = []
    for entry, each in zip(entries, addresses, strict=True):
        if len(each) == 1 or each in same:
            found.append(LocatedPhoto(entry=entry, address=each[0]))
        else:
            report.drop(entry.number, "several photos have this name" if each else "photo missing")
    return _listed_once(found, report)


def _have_same_content(addresses: Sequence[str]) -> bool:
    try:
        return len({hashlib.sha256(storage.read_bytes(address)).digest() for address in addresses}) == 1
    except storage.StorageError:
        if storage.is_remote(addresses[0]):  # the next photos of this bucket would fail too
            raise
        return False


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
