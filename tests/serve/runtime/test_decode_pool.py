import asyncio
import io
import threading

import pytest
from PIL import Image

from serve.runtime.decode_pool import DecodingPool, takes_long


def photo(kind: str, size: tuple[int, int], **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size).save(file, kind, **options)
    return file.getvalue()


def with_scans(jpeg: bytes, num_more: int) -> bytes:
    """Repeat the last scan of a JPEG."""
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:-2] + jpeg[last:-2] * num_more + jpeg[-2:]


LARGE, SMALL = (3000, 2500), (800, 600)
HUGE = (6000, 4000)


@pytest.mark.parametrize(
    ("data", "long"),
    [
        (photo("PNG", LARGE), True),
        (photo("PNG", SMALL), False),
        (photo("WEBP", LARGE, method=0), True),
        (photo("WEBP", LARGE, method=0, lossless=True), True),
        (photo("WEBP", LARGE, method=0, exif=b"Exif\0\0"), True),
        (photo("WEBP", SMALL), False),
        (photo("WEBP", SMALL, lossless=True), False),
        (photo("JPEG", HUGE), False),
        (photo("JPEG", HUGE, progressive=True), True),
        (photo("JPEG", LARGE, progressive=True), False),
        (with_scans(photo("JPEG", LARGE, progressive=True), 60), True),
        (with_scans(photo("JPEG", SMALL, progressive=True), 60), False),
        (with_scans(photo("JPEG", SMALL, progressive=True), 400), False),  # refused at once
        (b"\xff\xd8" + b"\xff\xe1\x00\x02" * 100, False),
        (b"\xff\xd8\xff", False),
        (b"\x89PNG\r\n", False),
        (b"<html>", False),
        (b"", False),
    ],
)
def test_what_takes_long_is_told_by_headers_and_scans(data: bytes, long: bool):
    assert takes_long(data) is long


async def test_quick_photos_do_not_wait_for_slow_ones():
    pool = DecodingPool(1)
    go = threading.Event()
    slow, quick = photo("PNG", LARGE), photo("PNG", SMALL)

    waiting = [asyncio.create_task(pool.decode(lambda data: go.wait(20), slow)) for _ in range(3)]
    size = await asyncio.wait_for(pool.decode(len, quick), 10)
    go.set()

    assert size == len(quick)
    assert await asyncio.gather(*waiting) == [True] * 3
