"""Small photos in every accepted format and variant, made by code: the seeds of the mutated files."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pillow_heif
from PIL import ExifTags, Image, TiffImagePlugin

from models.limits import PHOTO_FORMATS
from samples.lesion import draw_lesion
from tests.photo_files import (
    DISPLAY_P3,
    cmyk_profile,
    encoded,
    grey_profile,
    png_chunk,
    rgb_profile,
    with_chunk,
)

_SIZE_PX = 64
_P3 = rgb_profile(DISPLAY_P3)
_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:exif="http://ns.adobe.com/exif/1.0/" '
    b'exif:DateTimeOriginal="2026-01-02T03:04:05+01:00"/></rdf:RDF></x:xmpmeta>'
)
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Column, row, column step and row step of the passes of an interlaced PNG."""


def photo_seeds() -> dict[str, bytes]:
    """Return the files by name; each name begins with the format."""
    picture = draw_lesion(seed=1, size_px=_SIZE_PX)
    seeds = {}
    for format in PHOTO_FORMATS:
        name = format.pillow_name
        seeds |= {f"{name} {variant}": file for variant, file in _VARIANTS[name](picture)}
    return seeds


def _metadata(profile: bytes = _P3) -> dict[str, object]:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Make] = "Maker"
    exif[ExifTags.Base.DateTime] = "2026:01:02 03:04:05"
    fields = exif.get_ifd(ExifTags.IFD.Exif)
    fields[ExifTags.Base.DateTimeOriginal] = "2026:01:02 03:04:05"
    fields[ExifTags.Base.OffsetTimeOriginal] = "+01:00"
    fields[ExifTags.Base.MakerNote] = bytes(range(64))
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSDateStamp] = "2026:01:02"
    gps[ExifTags.GPS.GPSTimeStamp] = tuple(TiffImagePlugin.IFDRational(part) for part in (2, 4, 5))
    return {"exif": exif.tobytes(), "xmp": _XMP, "icc_profile": profile}


def _jpegs(picture: Image.Image) -> Iterator[tuple[str, bytes]]:
    yield "baseline", encoded(picture, "JPEG")
    yield "progressive", encoded(picture, "JPEG", progressive=True)
    yield "restart", encoded(picture, "JPEG", restart_marker_blocks=2, subsampling="4:4:4", optimize=True)
    yield "grey", encoded(picture.convert("L"), "JPEG", icc_profile=grey_profile(1.8))
    yield "cmyk", encoded(picture.convert("CMYK"), "JPEG", icc_profile=cmyk_profile())
    yield "metadata", encoded(picture, "JPEG", **_metadata())
    yield "progressive metadata", encoded(picture, "JPEG", progressive=True, comment="c", **_metadata())
    yield "mpo", encoded(picture, "MPO", save_all=True, append_images=[picture.rotate(90)])


def _pngs(picture: Image.Image) -> Iterator[tuple[str, bytes]]:
    for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"):
        yield mode, encoded(_in_mode(picture, mode), "PNG")
    yield "transparent", encoded(picture.convert("P"), "PNG", transparency=3)
    metadata = _metadata()
    del metadata["xmp"]
    text = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + _XMP)
    yield "metadata", with_chunk(encoded(picture, "PNG", **metadata), text)
    yield "animated", encoded(picture, "PNG", save_all=True, append_images=[picture.rotate(90)])
    pixels_HWC = np.asarray(picture)
    yield "interlaced", _png(pixels_HWC, interlaced=True)
    yield "16 bit", _png(pixels_HWC.astype(">u2") * 257, interlaced=False)


def _png(pixels_HWC: np.ndarray, *, interlaced: bool) -> bytes:
    """Write variants that Pillow does not write."""
    height, width = pixels_HWC.shape[:2]
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    rows = (
        b"\0" + row_WC.tobytes()
        for left, top, across, down in passes
        for row_WC in pixels_HWC[top::down, left::across]
    )
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels_HWC.itemsize, 2, 0, 0, interlaced)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def _webps(picture: Image.Image) -> Iterator[tuple[str, bytes]]:
    yield "lossy", encoded(picture, "WEBP")
    yield "lossless", encoded(picture, "WEBP", lossless=True)
    yield "alpha", encoded(_translucent(picture), "WEBP")
    yield "metadata", encoded(picture, "WEBP", **_metadata())
    yield "animated", encoded(picture, "WEBP", save_all=True, append_images=[picture.rotate(90)])


def _avifs(picture: Image.Image) -> Iterator[tuple[str, bytes]]:
    yield "plain", encoded(picture, "AVIF", speed=10)
    yield "alpha", encoded(_translucent(picture), "AVIF", speed=10)
    yield "metadata", encoded(picture, "AVIF", speed=10, **_metadata())
    yield "animated", encoded(picture, "AVIF", speed=10, save_all=True, append_images=[picture.rotate(90)])


def _heics(picture: Image.Image) -> Iterator[tuple[str, bytes]]:
    yield "plain", encoded(picture, "HEIC")
    yield "alpha", encoded(_translucent(picture), "HEIC")
    yield "grey", encoded(picture.convert("L"), "HEIC")
    described = picture.copy()
    described.info |= _metadata()
    yield "metadata", encoded(described, "HEIC")
    several = pillow_heif.from_pillow(picture)
    several.add_from_pillow(picture.rotate(90))
    file = io.BytesIO()
    several.save(file)
    yield "several", file.getvalue()


def _tiffs(picture: Image.Image) -> Iterator[tuple[str, bytes]]:
    for mode in ("RGB", "RGBA", "L", "P", "1", "CMYK", "LAB", "I;16"):
        yield mode, encoded(_in_mode(picture, mode), "TIFF")
    for compression in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits"):
        yield compression, encoded(picture, "TIFF", compression=compression)
    yield "group4", encoded(picture.convert("1"), "TIFF", compression="group4")
    yield "big", encoded(picture, "TIFF", big_tiff=True)
    metadata = _metadata()
    yield "metadata", encoded(picture, "TIFF", exif=metadata["exif"], icc_profile=_P3, tiffinfo={700: _XMP})
    yield "pages", encoded(picture, "TIFF", save_all=True, append_images=[picture.rotate(90)])


def _jpeg2000s(picture: Image.Image) -> Iterator[tuple[str, bytes]]:
    yield "jp2", encoded(picture, "JPEG2000")
    yield "codestream", encoded(picture, "JPEG2000", no_jp2=True)
    yield "tiles", encoded(picture, "JPEG2000", tile_size=(48, 48), irreversible=True)
    yield "alpha", encoded(_translucent(picture), "JPEG2000")
    yield "grey", encoded(picture.convert("L"), "JPEG2000")
    yield "16 bit", encoded(picture.convert("I").convert("I;16"), "JPEG2000")


def _gifs(picture: Image.Image) -> Iterator[tuple[str, bytes]]:
    yield "plain", encoded(picture, "GIF")
    yield "transparent", encoded(picture.convert("P"), "GIF", transparency=3, interlace=0)
    yield "animated", encoded(picture, "GIF", save_all=True, append_images=[picture.rotate(90)], loop=0)


def _bmps(picture: Image.Image) -> Iterator[tuple[str, bytes]]:
    for mode in ("RGB", "RGBA", "L", "P", "1"):
        yield mode, encoded(picture.convert(mode), "BMP")
    yield "os2", b"BM" + struct.pack("<IHHIIHHHH", 26 + 12 * 4, 0, 0, 26, 12, 4, 4, 1, 24) + bytes(range(48))
    packed = bytes((16, 1, 0, 0)) * 16 + b"\0\1"
    header = struct.pack("<IiiHHIIiiII", 40, 16, 16, 1, 8, 1, len(packed), 0, 0, 2, 0)
    offset = 14 + len(header) + 8
    head = b"BM" + struct.pack("<IHHI", offset + len(packed), 0, 0, offset)
    yield "run length", head + header + bytes((0, 0, 0, 0, 90, 120, 200, 0)) + packed


_VARIANTS = {
    "JPEG": _jpegs,
    "PNG": _pngs,
    "WEBP": _webps,
    "AVIF": _avifs,
    "HEIC": _heics,
    "TIFF": _tiffs,
    "JPEG2000": _jpeg2000s,
    "GIF": _gifs,
    "BMP": _bmps,
}


def _translucent(picture: Image.Image) -> Image.Image:
    copy = picture.convert("RGBA")
    copy.putalpha(Image.linear_gradient("L").resize(picture.size))
    return copy


def _in_mode(picture: Image.Image, mode: str) -> Image.Image:
    if mode == "LAB":
        return Image.merge("LAB", [picture.convert("L")] * 3)
    return picture.convert("I").convert(mode) if mode == "I;16" else picture.convert(mode)
