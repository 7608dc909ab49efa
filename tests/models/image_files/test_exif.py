import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from models.image_files.exif import is_usable_exif


def directory(num_entries: int, num_bytes: int, *, tag: int = 40_000, value: int = 8) -> bytes:
    entries = [struct.pack("<HHII", tag + number, 7, num_bytes, value) for number in range(num_entries)]
    return struct.pack("<H", num_entries) + b"".join(entries) + bytes(4)


def test_exif_of_a_camera_is_usable():
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] = bytes(50_000)
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSDateStamp] = "2026:01:02"

    assert is_usable_exif(exif.tobytes())


@pytest.mark.parametrize("pointer", [None, ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo])
def test_exif_of_overlapping_values_is_not_usable(pointer: int | None):
    start = 8 if pointer is None else 26
    first = b"" if pointer is None else directory(1, 1, tag=pointer, value=start)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + first + directory(300, 5000) + bytes(5000)

    assert not is_usable_exif(exif)
    assert is_usable_exif(exif.replace(struct.pack("<I", 5000), struct.pack("<I", 5)))


def test_one_damaged_length_leaves_exif_usable():
    assert is_usable_exif(b"II*\0\x08\0\0\0" + directory(1, 2**32 - 1))


def test_large_exif_and_big_tiff_are_not_usable():
    assert not is_usable_exif(b"II*\0\x08\0\0\0" + bytes(65_536))
    assert not is_usable_exif(b"II+\0\x08\0\0\0" + bytes(100))


@given(st.sampled_from([b"II*\0", b"MM\0*", b""]), st.binary(max_size=100))
def test_any_bytes_give_an_answer(head: bytes, tail: bytes):
    is_usable_exif(head + tail)
