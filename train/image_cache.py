"""Cache of decoded photos for all epochs, workers and later runs of a machine: one file of uint8 squares.

Axes: B photo, H row, W column, C colour.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from models.images import PhotoError, decode_square
from models.storage import MissingError, read_bytes
from train.data.manifest import ManifestError, Row

log = logging.getLogger(__name__)

NUM_READERS = 16
"""Threads; most of the time they wait for a disk or for S3."""
PHOTOS_PER_SAVE = 500
"""Photos between two records of the progress; a restart decodes at most so many again."""
RESERVED_BYTES = 2 << 30
"""Free space that a cache leaves on its disk."""

DECODER_VERSION = 2
"""Part of the key; increased when ``models.images`` returns other pixels. 2: colour profiles."""

Decoder = Callable[[bytes], np.ndarray]
"""Returns the square of a photo, uint8, (side_px, side_px, 3); may raise PhotoError."""
Unreadable = dict[int, str]
"""Reason by position of the unreadable photo."""


def decoded_photos(
    rows: Sequence[Row], *, side_px: int, cache: str, decoder: Decoder | None = None
) -> tuple[Tensor, Unreadable]:
    """Return uint8 squares, (B, side_px, side_px, 3), and the unreadable photos, which are zero.

    Args:
        decoder: without a cache, another square than the central one.
        cache: folder for the file; empty: in the memory of this process. The first process of a machine
            writes the file; the others wait and map it. After a kill the next process decodes the rest.

    Raises:
        ManifestError: the disk is too full for the file.
        StorageError: disk or bucket cannot be read at the moment.
    """
    shape = (len(rows), side_px, side_px, 3)
    if not cache:
        image_BHWC = np.zeros(shape, np.uint8)
        unreadable = _fill(image_BHWC, rows, decoder or _central(side_px), range(len(rows)))
        return torch.from_numpy(image_BHWC), unreadable
    if decoder is not None:
        raise ValueError("the cache holds central squares only; leave out decoder or cache")
    folder = Path(cache)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ManifestError(
            f"--cache {cache} cannot be created: {error.strerror}; name another folder"
        ) from error
    path = folder / f"{_key(rows, side_px)}.npy"
    with FileLock(path.with_suffix(".lock")):
        if not path.is_file():
            _write(path, rows, shape)
        unreadable = _retry_unreadable(path, rows)
    # copy-on-write: PyTorch requires writable memory
    return torch.from_numpy(np.load(path, mmap_mode="c")), unreadable


def _retry_unreadable(path: Path, rows: Sequence[Row]) -> Unreadable:
    """Read photos again that were missing or damaged when the file was written."""
    notes = path.with_suffix(".json")
    before = {int(index): why for index, why in json.loads(notes.read_text(encoding="utf-8")).items()}
    if not before:
        return before
    image_BHWC = np.load(path, mmap_mode="r+")
    found = _fill(image_BHWC, rows, _central(image_BHWC.shape[1]), list(before))
    image_BHWC.flush()
    _write_json(notes, found)
    return found


def _write(path: Path, rows: Sequence[Row], shape: tuple[int, ...]) -> None:
    """Decode into ``.part``, continue after a killed process, and rename the complete file.

    Pixels reach the disk before ``.progress`` counts them.
    """
    part, progress = path.with_suffix(".part"), path.with_suffix(".progress")
    done, unreadable = _read_progress(part, progress)
    needed = (len(rows) - done) * int(np.prod(shape[1:]))
    free = shutil.disk_usage(path.parent).free
    if needed + RESERVED_BYTES > free:
        raise ManifestError(
            f"{len(rows) - done} decoded photos need {needed / 1e9:.1f} GB in {path.parent}, "
            f"{free / 1e9:.1f} GB are free there; free some, or name a folder on another disk with --cache"
        )
    if done:
        log.info("%d of %d photos are decoded already; decoding the rest", done, len(rows))
    else:
        progress.unlink(missing_ok=True)  # of a deleted part
    image_BHWC = np.lib.format.open_memmap(part, mode="r+" if done else "w+", dtype=np.uint8, shape=shape)
    for start in range(done, len(rows), PHOTOS_PER_SAVE):
        stop = min(start + PHOTOS_PER_SAVE, len(rows))
        unreadable |= _fill(image_BHWC, rows, _central(shape[1]), range(start, stop))
        image_BHWC.flush()
        _write_json(progress, {"done": stop, "unreadable": unreadable})
    _write_json(path.with_suffix(".json"), unreadable)
    part.replace(path)
    progress.unlink()


def _read_progress(part: Path, progress: Path) -> tuple[int, Unreadable]:
    """Return the number of photos in ``part``, and the unreadable ones."""
    if not (part.is_file() and progress.is_file()):
        return 0, {}
    found = json.loads(progress.read_text(encoding="utf-8"))
    return found["done"], {int(index): why for index, why in found["unreadable"].items()}


def _write_json(path: Path, content: Any) -> None:
    """Replace a file atomically."""
    scratch = path.with_name(f"{path.name}.tmp")
    with scratch.open("w", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


def _fill(image_BHWC: np.ndarray, rows: Sequence[Row], decoder: Decoder, which: Sequence[int]) -> Unreadable:
    unreadable: Unreadable = {}
    with ThreadPoolExecutor(NUM_READERS) as pool:
        squares = pool.map(partial(_square, decoder=decoder), [rows[index] for index in which])
        for index, square in zip(which, squares, strict=True):
            if isinstance(square, str):
                unreadable[index] = square
                image_BHWC[index] = 0
            else:
                image_BHWC[index] = square
    return unreadable


def _central(side_px: int) -> Decoder:
    return lambda data: decode_square(data, side_px=side_px).image_HWC


def _square(row: Row, decoder: Decoder) -> np.ndarray | str:
    """Return a photo or the reason why it is unreadable; other storage errors are raised."""
    try:
        return decoder(read_bytes(row.image))
    except (PhotoError, MissingError) as error:
        return str(error)


def _key(rows: Sequence[Row], side_px: int) -> str:
    digest = hashlib.sha256(f"{DECODER_VERSION} {side_px}".encode())
    for row in rows:
        digest.update(f"\n{row.image}\t".encode() + row.thumbnail)
    return digest.hexdigest()[:24]
