import time
import zlib

import pytest

from models.image_files.png import pixel_chunks
from models.images import UnreadableImageError, decode_square
from tests.photo_files import (
    DISPLAY_P3,
    RED,
    encoded,
    mean_colour,
    png_chunk,
    rgb_profile,
    split_picture,
    with_chunk,
)

PNG = encoded(split_picture(), "PNG")
BOMB = zlib.compress(bytes(50_000_000), 9)


def with_wrong_checksum(chunk: bytes) -> bytes:
    return chunk[:-1] + bytes([chunk[-1] ^ 1])


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"zTXt", b"Raw\0\0" + zlib.compress(b"a" * 1_100_000)),
        png_chunk(b"zTXt", b"Raw\0\0" + BOMB),
        png_chunk(b"tEXt", b"Raw\0" + b"a" * 1_100_000),
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB),
        png_chunk(b"iCCP", b"icc\0\0" + zlib.compress(rgb_profile(DISPLAY_P3).ljust(1_100_000, b"\0"))),
        png_chunk(b"iCCP", b"icc\0\0" + BOMB),
        png_chunk(b"iCCP", b"icc\0\0damaged"),
        with_wrong_checksum(png_chunk(b"tEXt", b"Comment\0hello")),
        with_wrong_checksum(png_chunk(b"pHYs", bytes(9))),
        with_wrong_checksum(png_chunk(b"eXIf", b"MM\0*")),
        png_chunk(b"tIME", b"x"),
        png_chunk(b"pHYs", b""),
        png_chunk(b"gAMA", b""),
    ],
    ids=lambda chunk: chunk[4:8].decode(),
)
def test_metadata_does_not_reject_a_photo(chunk: bytes):
    photo = decode_square(with_chunk(PNG, chunk), side_px=32)

    assert mean_colour(photo, "left") == pytest.approx(RED, abs=3)


def test_a_wrong_checksum_of_a_critical_chunk_rejects_a_photo():
    damaged = bytearray(PNG)
    damaged[29] ^= 1  # of the header

    with pytest.raises(UnreadableImageError, match="damaged"):
        decode_square(bytes(damaged), side_px=32)


def test_many_packed_profiles_are_unpacked_once():
    chunk = png_chunk(b"iCCP", b"icc\0\0" + BOMB)
    started = time.process_time()

    decode_square(with_chunk(PNG, chunk * 300), side_px=32)

    assert time.process_time() - started < 2  # 300 MB would take longer


@pytest.mark.parametrize("length", [len(PNG) - 30, len(PNG) // 2, 40])
def test_a_truncated_photo_stays_truncated(length: int):
    with pytest.raises(UnreadableImageError, match="truncated"):
        decode_square(PNG[:length], side_px=32)


def test_critical_chunks_and_transparency_stay_as_they_are():
    palette = encoded(split_picture().quantize(), "PNG", transparency=0)

    assert pixel_chunks(PNG) == PNG
    assert pixel_chunks(palette) == palette
