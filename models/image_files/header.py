"""Read the size of a photo from its header, without a C library."""

import re
import struct
from collections.abc import Callable

from models.image_files.tiff import tiff_size
from models.limits import PhotoFormat

Size = tuple[int, int]

_HEIF_SIZE = re.compile(rb"ispe\0{4}(.{4})(.{4})", re.DOTALL)
_JPEG2000_SIZE = re.compile(rb"\xff\x4f\xff\x51.{4}(.{16})", re.DOTALL)


def header_size(data: bytes, format: PhotoFormat) -> Size | None:
    """Return width and height by the header; None for a truncated or damaged header.

    For HEIC and AVIF it is the size of the largest picture in the file. For JPEG it is None: Pillow reads the
    markers.
    """
    read = _READERS.get(format.name)
    try:
        return read(data) if read else None
    except (struct.error, ValueError):
        return None


def _png_size(data: bytes) -> Size:
    return struct.unpack_from(">II", data, 16)


def _gif_size(data: bytes) -> Size:
    return struct.unpack_from("<HH", data, 6)


def _bmp_size(data: bytes) -> Size:
    if data[14:18] == b"\x0c\0\0\0":  # the header of OS/2
        return struct.unpack_from("<HH", data, 18)
    width, height = struct.unpack_from("<ii", data, 18)
    return width, abs(height)  # negative: rows from top to bottom


def _webp_size(data: bytes) -> Size | None:
    if data[12:16] == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if data[12:16] == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _heif_size(data: bytes) -> Size:
    """Return the largest size in the property boxes."""
    sizes = (struct.unpack(">II", b"".join(found.groups())) for found in _HEIF_SIZE.finditer(data))
    return max(sizes, key=lambda size: size[0] * size[1])


def _jpeg2000_size(data: bytes) -> Size | None:
    found = _JPEG2000_SIZE.search(data)
    if found is None:
        return None
    right, bottom, left, top = struct.unpack(">IIII", found[1])
    return right - left, bottom - top


_READERS: dict[str, Callable[[bytes], Size | None]] = {
    "PNG": _png_size,
    "WebP": _webp_size,
    "HEIC": _heif_size,
    "AVIF": _heif_size,
    "TIFF": tiff_size,
    "BMP": _bmp_size,
    "GIF": _gif_size,
    "JPEG 2000": _jpeg2000_size,
}
