import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.images import decode_square
from models.storage import StorageError, read_bytes
from train.data.manifest import ManifestError, Row
from train.image_cache import decoded_photos
from train.lesion.drawn_lesions import draw_lesion_photos


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    return draw_lesion_photos(tmp_path / "photos", tmp_path / "manifest.parquet", num_photos=9)


@pytest.mark.parametrize("cached", [True, False])
def test_photos_equal_those_that_serving_decodes(rows: list[Row], tmp_path: Path, cached: bool):
    image_BHWC, unreadable = decoded_photos(rows, side_px=32, cache=str(tmp_path / "cache") if cached else "")

    served_HWC = decode_square(Path(rows[4].image).read_bytes(), side_px=32).image_HWC
    assert torch.equal(image_BHWC[4], torch.from_numpy(served_HWC))
    assert not unreadable


def test_a_second_run_reads_no_photo(rows: list[Row], tmp_path: Path):
    first, _ = decoded_photos(rows, side_px=32, cache=str(tmp_path / "cache"))
    shutil.rmtree(tmp_path / "photos")

    again, unreadable = decoded_photos(rows, side_px=32, cache=str(tmp_path / "cache"))

    assert torch.equal(first, again)
    assert not unreadable


KILLED = """
import os, signal, sys
from pathlib import Path
import train.image_cache as photo_cache
from models.storage import read_bytes
from train.data.manifest import read_manifest

num_read = 0

def read_until_killed(address):
    global num_read
    num_read += 1
    if num_read == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return read_bytes(address)

photo_cache.NUM_READERS = 1
photo_cache.PHOTOS_PER_SAVE = 3
photo_cache.read_bytes = read_until_killed
photo_cache.decoded_photos(read_manifest(sys.argv[1]), side_px=32, cache=sys.argv[2])
"""


@pytest.mark.parametrize(("killed_at", "num_kept"), [(2, 0), (8, 6)])
def test_after_a_kill_only_the_rest_is_decoded(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int, num_kept: int
):
    Path(rows[4].image).write_bytes(b"\xff\xd8\xff broken")
    expected, _ = decoded_photos(rows, side_px=32, cache="")
    cache = tmp_path / "cache"
    decoded_photos(rows, side_px=32, cache=str(cache))
    (whole,) = cache.glob("*.npy")
    whole.unlink()
    whole.with_suffix(".progress").write_text('{"done": 9, "unreadable": {}}')  # of a part that is gone
    manifest = str(tmp_path / "manifest.parquet")
    command = [sys.executable, "-c", KILLED, manifest, str(cache), str(killed_at)]
    assert subprocess.run(command, timeout=100).returncode == -signal.SIGKILL
    decoded: list[str] = []

    def read_and_note(address: str) -> bytes:
        decoded.append(address)
        return read_bytes(address)

    monkeypatch.setattr("train.image_cache.read_bytes", read_and_note)
    image_BHWC, unreadable = decoded_photos(rows, side_px=32, cache=str(cache))

    tried_again = rows[4].image
    assert sorted(decoded) == sorted([*(row.image for row in rows[num_kept:]), tried_again])
    assert torch.equal(image_BHWC, expected)
    assert list(unreadable) == [4]
    assert {path.suffix for path in cache.iterdir()} == {".npy", ".json", ".lock"}


def test_pixels_without_recorded_progress_are_decoded_again(rows: list[Row], tmp_path: Path):
    expected, _ = decoded_photos(rows, side_px=32, cache=str(tmp_path / "cache"))
    (whole,) = (tmp_path / "cache").glob("*.npy")
    part = whole.rename(whole.with_suffix(".part"))
    np.load(part, mmap_mode="r+")[:] = 9

    again, _ = decoded_photos(rows, side_px=32, cache=str(tmp_path / "cache"))

    assert torch.equal(again, expected)


def test_a_changed_photo_is_decoded_again(rows: list[Row], tmp_path: Path):
    decoded_photos(rows, side_px=32, cache=str(tmp_path / "cache"))
    shutil.copy(rows[1].image, rows[0].image)
    changed = [replace(rows[0], thumbnail=rows[1].thumbnail), *rows[1:]]

    image_BHWC, _ = decoded_photos(changed, side_px=32, cache=str(tmp_path / "cache"))

    assert torch.equal(image_BHWC[0], image_BHWC[1])


def test_a_damaged_and_a_missing_photo_are_reported_and_black(rows: list[Row], tmp_path: Path):
    Path(rows[2].image).write_bytes(b"\xff\xd8\xff broken")
    Path(rows[5].image).unlink()

    for _ in range(2):  # the second time from the cache
        image_BHWC, unreadable = decoded_photos(rows, side_px=32, cache=str(tmp_path / "cache"))

        assert sorted(unreadable) == [2, 5]
        assert "damaged or truncated" in unreadable[2]
        assert "no file" in unreadable[5]
        assert not image_BHWC[2].any()


def test_a_photo_that_was_missing_before_is_read(rows: list[Row], tmp_path: Path):
    hidden = tmp_path / "hidden.jpg"
    Path(rows[3].image).rename(hidden)
    _, unreadable = decoded_photos(rows, side_px=32, cache=str(tmp_path / "cache"))
    hidden.rename(rows[3].image)

    image_BHWC, later = decoded_photos(rows, side_px=32, cache=str(tmp_path / "cache"))

    assert list(unreadable) == [3]
    assert not later
    assert image_BHWC[3].any()


def test_a_storage_error_is_raised_and_marks_no_photo_as_unreadable(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(address: str) -> bytes:
        raise StorageError("the bucket answered 503 8 times")

    monkeypatch.setattr("train.image_cache.read_bytes", fail)
    with pytest.raises(StorageError, match="503"):
        decoded_photos(rows, side_px=32, cache=str(tmp_path / "cache"))

    monkeypatch.undo()
    assert not decoded_photos(rows, side_px=32, cache=str(tmp_path / "cache"))[1]


def test_a_full_disk_is_reported_before_decoding(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10, 9, 1000))

    with pytest.raises(
        ManifestError, match=r"9 decoded photos need .* GB .*, 0\.0 GB are free there; .*--cache"
    ):
        decoded_photos(rows, side_px=32, cache=str(tmp_path / "cache"))


def test_another_decoder_chooses_the_square_and_needs_no_cache(tmp_path: Path):
    rows = [Row(image=str(tmp_path / "a.png"), label="Nevus")]
    Image.new("RGB", (40, 40), (10, 20, 30)).save(tmp_path / "a.png")

    image_BHWC, unreadable = decoded_photos(
        rows, side_px=32, cache="", decoder=lambda data: np.full((32, 32, 3), len(data) % 256, np.uint8)
    )

    assert not unreadable and (image_BHWC == (tmp_path / "a.png").stat().st_size % 256).all()
    with pytest.raises(ValueError, match="central squares only"):
        decoded_photos(rows, side_px=32, cache=str(tmp_path), decoder=lambda _: np.zeros((32, 32, 3)))
