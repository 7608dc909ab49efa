"""Photos drawn by code, in files of every accepted format and with colour profiles."""

import io
import struct
import zlib

import pillow_heif
from PIL import Image, ImageCms

from models.images import Photo
from models.limits import PhotoFormat

RED, BLUE = (200, 30, 30), (30, 30, 200)
_D50 = (0.9642, 1, 0.8249)
DISPLAY_P3 = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
ADOBE_RGB = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))
_SRGB = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
SWAPPED = (_SRGB[1], _SRGB[0], _SRGB[2])
"""Columns of primaries, XYZ relative to D50; the last with red and green swapped."""


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    if format == "HEIC":
        pillow_heif.from_pillow(image).save(file, **options)
    else:
        image.save(file, format, **options)
    return file.getvalue()


def photo_file(image: Image.Image, format: PhotoFormat, **options: object) -> bytes:
    return encoded(image, format.pillow_name, **options)


def split_picture(width: int = 400, height: int = 200) -> Image.Image:
    """Left half red, right half blue."""
    picture = Image.new("RGB", (width, height), RED)
    picture.paste(BLUE, (width // 2, 0, width, height))
    return picture


def gradient(width: int = 320, height: int = 240) -> Image.Image:
    """All hues, away from the grey of missing rows."""
    ramps = [Image.linear_gradient("L").rotate(turn).resize((width, height)) for turn in (0, 90, 180)]
    return Image.merge("RGB", ramps).point([40 + value * 5 // 8 for value in range(256)] * 3)


def mean_colour(photo: Photo, part: str) -> list[float]:
    height, width = photo.image_HWC.shape[:2]
    parts = {
        "left": photo.image_HWC[:, : width // 4],
        "right": photo.image_HWC[:, -width // 4 :],
        "top": photo.image_HWC[: height // 4],
        "bottom": photo.image_HWC[-height // 4 :],
    }
    return parts[part].reshape(-1, 3).mean(0).tolist()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(png: bytes, chunk: bytes) -> bytes:
    """Insert a chunk behind the header."""
    return png[:33] + chunk + png[33:]


def rgb_profile(primaries: tuple[tuple[float, ...], ...], gamma: float = 2.2) -> bytes:
    """Return an ICC profile of three primaries."""
    curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(gamma * 256))
    tags = [(name + b"XYZ", _xyz(column)) for name, column in zip((b"r", b"g", b"b"), primaries, strict=True)]
    return _profile(b"RGB ", tags + [(name + b"TRC", curve) for name in (b"r", b"g", b"b")])


def grey_profile(gamma: float) -> bytes:
    return _profile(b"GRAY", [(b"kTRC", b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(gamma * 256)))])


def cmyk_profile() -> bytes:
    """Return an ICC profile whose cyan ink prints red, which no conversion without it guesses."""
    grid = bytearray()
    for corner in range(16):
        cyan, _, _, black = (corner >> shift & 1 for shift in (3, 2, 1, 0))
        lightness, a, b = (0, 128, 128) if black else (135, 208, 195) if cyan else (255, 128, 128)
        grid += bytes((lightness, a, b))
    identity = bytes(range(256))
    matrix = b"".join(struct.pack(">i", 65536 * (place % 4 == 0)) for place in range(9))
    table = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + matrix + identity * 4 + bytes(grid) + identity * 3
    return _profile(b"CMYK", [(b"A2B0", table)], kind=b"prtr", connection=b"Lab ")


def in_profile(image: Image.Image, profile: bytes) -> Image.Image:
    """Return an sRGB picture as pixels of a profile."""
    target = ImageCms.getOpenProfile(io.BytesIO(profile))
    converted = ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), target, outputMode="RGB")
    assert converted is not None
    return converted


def _xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _profile(
    colours: bytes, tags: list[tuple[bytes, bytes]], kind: bytes = b"mntr", connection: bytes = b"XYZ "
) -> bytes:
    description = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = [(b"desc", description), (b"cprt", b"text\0\0\0\0none\0\0\0\0"), (b"wtpt", _xyz(_D50)), *tags]
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags:
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    rest = struct.pack(">I", len(tags)) + table + body
    head = struct.pack(">I4sI4s4s4s", 128 + len(rest), b"test", 0x02400000, kind, colours, connection)
    head += b"\x07\xe8\0\1\0\1\0\0\0\0\0\0acsp"
    return (head.ljust(68, b"\0") + _xyz(_D50)[8:]).ljust(128, b"\0") + rest
