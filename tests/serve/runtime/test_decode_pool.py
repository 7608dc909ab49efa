import asyncio
import io
import platform
import subprocess
import sys
import threading
from functools import partial

import pytest
from PIL import Image

from models.image_files.jpeg import jpeg_decoding_cost
from models.images import UnreadableImageError, decode_square
from serve.runtime.decode_pool import DecodePool, is_slow


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
    ("data", "slow"),
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
        (photo("TIFF", HUGE), True),
        (photo("TIFF", LARGE), False),
        (photo("AVIF", SMALL, speed=10), False),
        (photo("JPEG2000", SMALL), False),
        (photo("GIF", HUGE), True),
        (photo("BMP", HUGE), True),
        (photo("BMP", LARGE), False),
        (b"\xff\xd8" + b"\xff\xe1\x00\x02" * 100, False),
        (b"\xff\xd8\xff", False),
        (b"\x89PNG\r\n", False),
        (b"<html>", False),
        (b"", False),
    ],
)
def test_slow_photos_are_recognised_by_headers_and_scans(data: bytes, slow: bool):
    assert is_slow(data) is slow


def test_a_jpeg_of_too_many_scans_is_rejected():
    with pytest.raises(UnreadableImageError, match="more than 100 scans"):
        is_slow(with_scans(photo("JPEG", SMALL, progressive=True), 400))


@pytest.mark.parametrize("slow", [photo("PNG", LARGE), photo("BMP", SMALL)], ids=["large", "helper process"])
async def test_fast_photos_do_not_wait_for_others(slow: bytes):
    pool = DecodePool(1)
    go = threading.Event()
    fast = photo("PNG", SMALL)

    waiting = [asyncio.create_task(pool.decode(lambda data, **_: go.wait(20), slow)) for _ in range(3)]
    size = await asyncio.wait_for(pool.decode(lambda data, **_: len(data), fast), 10)
    go.set()

    assert size == len(fast)
    assert await asyncio.gather(*waiting) == [True] * 3


async def test_a_jpeg_is_scanned_once_and_not_on_the_event_loop(monkeypatch: pytest.MonkeyPatch):
    threads: list[str] = []

    def scan(data: bytes) -> int:
        threads.append(threading.current_thread().name)
        return jpeg_decoding_cost(data)

    monkeypatch.setattr("serve.runtime.decode_pool.jpeg_decoding_cost", scan)
    monkeypatch.setattr("models.images.jpeg_decoding_cost", scan)
    decoder = partial(decode_square, side_px=32)
    await DecodePool(1).decode(decoder, photo("JPEG", SMALL))
    await DecodePool(1).decode(decoder, photo("JPEG", HUGE, progressive=True))

    assert [name.startswith("decode_") for name in threads] == [True, True]


async def test_a_slow_photo_whose_caller_leaves_during_its_scan_is_not_decoded(
    monkeypatch: pytest.MonkeyPatch,
):
    scanning, go, decoded = threading.Event(), threading.Event(), []

    def scan(data: bytes) -> bool:
        scanning.set()
        return go.wait(20)

    monkeypatch.setattr("serve.runtime.decode_pool.is_slow", scan)
    pool = DecodePool(1)
    caller = asyncio.create_task(pool.decode(lambda data, **_: decoded.append(data), b"photo"))
    await asyncio.to_thread(scanning.wait, 20)
    blocked = threading.Event()
    pool._slow.submit(blocked.wait, 20)
    caller.cancel()
    await asyncio.wait([caller])
    go.set()
    await pool.run(lambda: None)
    blocked.set()
    pool._slow.shutdown()

    assert decoded == []


_MAPPED_BUFFERS = """
import ctypes
from serve.runtime.decode_pool import return_large_buffers

class MallocInfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "num_mapped", *"123456")]

return_large_buffers()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.mallinfo2.restype = ctypes.c_void_p, MallocInfo
for size in (25_000_000, 20_000_000):  # by default, the first moves the second into the heap
    before = libc.mallinfo2().num_mapped
    buffers = [ctypes.c_void_p(libc.malloc(ctypes.c_size_t(size))) for _ in range(20)]
    print(libc.mallinfo2().num_mapped - before)
    for buffer in buffers:
        libc.free(buffer)
"""
"""In a process of its own: other tests leave free memory in the heap of this one."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is of glibc")
def test_large_buffers_stay_out_of_the_heap_and_return_to_the_system():
    command = [sys.executable, "-c", _MAPPED_BUFFERS]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["20", "20"]
