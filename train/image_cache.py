"""Photos decoded once for all epochs, workers and later runs of a machine: one file of uint8 squares.

Axes: B photo, H row, W column, C colour.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Sequence
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
"""Threads; most of them wait for a disk or for S3."""
PHOTOS_PER_MARK = 500
"""Photos after which the progress of a decode is stored; a restarted decode repeats at most so many."""
ROOM_LEFT_BYTES = 2 << 30
"""That a cache leaves free on its disk."""

Unreadable = dict[int, str]
"""Position of a photo that cannot be read, and why."""


def decoded_photos(rows: Sequence[Row], *, side_px: int, cache: str) -> tuple[Tensor, Unreadable]:
    """Return uint8 squares, (B, side_px, side_px, 3), zero where a photo cannot be read, and which those are.

    Args:
        cache: folder for the file; the first process on a machine writes it, the others wait and read it
            through the same memory. After a kill the next process decodes the rest. Empty: nothing is written
            and the squares are in this process alone.

    Raises:
        ManifestError: the disk has no room for the file.
        StorageError: disk or bucket cannot be read just now.
    """
    shape = (len(rows), side_px, side_px, 3)
    if not cache:
        image_BHWC = np.zeros(shape, np.uint8)
        return torch.from_numpy(image_BHWC), _fill(image_BHWC, rows, side_px, range(len(rows)))
    folder = Path(cache)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ManifestError(
            f"--cache {cache} cannot be made: {error.strerror}; name another folder"
        ) from error
    path = folder / f"{_key(rows, side_px)}.npy"
    with FileLock(path.with_suffix(".lock")):
        if not path.is_file():
            _write(path, rows, shape)
        unreadable = _tried_again(path, rows)
    # copy-on-write: PyTorch wants writable memory; nothing writes it
    return torch.from_numpy(np.load(path, mmap_mode="c")), unreadable


def _tried_again(path: Path, rows: Sequence[Row]) -> Unreadable:
    """Read the photos that could not be read when the file was written; they may be there or whole by now."""
    notes = path.with_suffix(".json")
    before = {int(index): why for index, why in json.loads(notes.read_text(encoding="utf-8")).items()}
    if not before:
        return before
    image_BHWC = np.load(path, mmap_mode="r+")
    found = _fill(image_BHWC, rows, image_BHWC.shape[1], list(before))
    image_BHWC.flush()
    _write_json(notes, found)
    return found


def _write(path: Path, rows: Sequence[Row], shape: tuple[int, ...]) -> None:
    """Decode into ``.part``, from where a killed process stopped, and rename it when it is complete.

    Pixels reach the disk before ``.progress`` counts them.
    """
    part, progress = path.with_suffix(".part"), path.with_suffix(".progress")
    done, unreadable = _read_progress(part, progress)
    needed = (len(rows) - done) * int(np.prod(shape[1:]))
    free = shutil.disk_usage(path.parent).free
    if needed + ROOM_LEFT_BYTES > free:
        raise ManifestError(
            f"{len(rows) - done} decoded photos need {needed / 1e9:.1f} GB in {path.parent}, "
            f"{free / 1e9:.1f} GB are free there; make room, or name a folder on another disk with --cache"
        )
    if done:
        log.info("%d of %d photos were decoded before; decoding the rest", done, len(rows))
    else:
        progress.unlink(missing_ok=True)  # of a part that was deleted
    image_BHWC = np.lib.format.open_memmap(part, mode="r+" if done else "w+", dtype=np.uint8, shape=shape)
    for start in range(done, len(rows), PHOTOS_PER_MARK):
        stop = min(start + PHOTOS_PER_MARK, len(rows))
        unreadable |= _fill(image_BHWC, rows, shape[1], range(start, stop))
        image_BHWC.flush()
        _write_json(progress, {"done": stop, "unreadable": unreadable})
    _write_json(path.with_suffix(".json"), unreadable)
    part.replace(path)
    progress.unlink()


def _read_progress(part: Path, progress: Path) -> tuple[int, Unreadable]:
    """Return how many photos ``part`` holds already, and which of them cannot be read."""
    if not (part.is_file() and progress.is_file()):
        return 0, {}
    found = json.loads(progress.read_text(encoding="utf-8"))
    return found["done"], {int(index): why for index, why in found["unreadable"].items()}


def _write_json(path: Path, content: Any) -> None:
    """Replace a file whole: after a crash it is the old one or the new one."""
    scratch = path.with_name(f"{path.name}.tmp")
    with scratch.open("w", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


def _fill(image_BHWC: np.ndarray, rows: Sequence[Row], side_px: int, which: Sequence[int]) -> Unreadable:
    unreadable: Unreadable = {}
    with ThreadPoolExecutor(NUM_READERS) as pool:
        squares = pool.map(partial(_square, side_px=side_px), [rows[index] for index in which])
        for index, square in zip(which, squares, strict=True):
            if isinstance(square, str):
                unreadable[index] = square
                image_BHWC[index] = 0
            else:
                image_BHWC[index] = square
    return unreadable


def _square(row: Row, side_px: int) -> np.ndarray | str:
    """A photo, or why there is none; trouble with a disk or a bucket says nothing of photos and is raised."""
    try:
        return decode_square(read_bytes(row.image), side_px=side_px).image_HWC
    except (PhotoError, MissingError) as error:
        return str(error)


def _key(rows: Sequence[Row], side_px: int) -> str:
    digest = hashlib.sha256(str(side_px).encode())
    for row in rows:
        digest.update(f"\n{row.image}\t".encode() + row.thumbnail)
    return digest.hexdigest()[:24]
