"""Decode photos to upright RGB pixels of the required size, for training and for serving.

A JPEG is decoded at a reduced size (DCT scaling) where the required size allows it.

Axes: H row, W column, C colour (red, green, blue).
"""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

import numpy as np
from PIL import ExifTags, Image

from models.image_files.capture_time import capture_time
from models.limits import (
    MAX_FACE_PHOTO_SIDE_PX,
    MAX_JPEG_SCANS,
    MAX_JPEG_SEGMENTS,
    MAX_PHOTO_BYTES,
    MAX_PHOTO_PIXELS,
    PHOTO_FORMAT_NAMES,
    PHOTO_FORMATS,
)

# PhotoLimits is checked on every header before decoding; Pillow's limit would only warn
Image.MAX_IMAGE_PIXELS = None

Size = tuple[int, int]

_PILLOW_FORMATS = tuple(format.name.upper() for format in PHOTO_FORMATS)

_JPEG_SEGMENT = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")
"""Start of a segment. In the data of a scan only 00 and the restart markers follow an FF."""
_END_OF_IMAGE, _START_OF_SCAN = 0xD9, 0xDA
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class PhotoError(ValueError):
    """Report a photo that cannot be used; the message says what to do."""

    code: ClassVar[str]


class UnreadableImageError(PhotoError):
    """Report an empty, truncated or damaged photo."""

    code = "unreadable_image"


class UnsupportedTypeError(PhotoError):
    """Report content in none of the accepted formats."""

    code = "unsupported_type"


class TooLargeError(PhotoError):
    """Report a photo over the limit of bytes."""

    code = "too_large"


class TooManyPixelsError(PhotoError):
    """Report a photo over the limit of pixels by its header, before decoding."""

    code = "too_many_pixels"


@dataclass(frozen=True, kw_only=True)
class PhotoLimits:
    """Limits of one photo."""

    max_bytes: int = MAX_PHOTO_BYTES
    max_pixels: int = MAX_PHOTO_PIXELS

    def __post_init__(self) -> None:
        if min(self.max_bytes, self.max_pixels) < 1:
            raise ValueError(
                f"photo limits are {self.max_bytes} bytes and {self.max_pixels} pixels, must be positive"
            )


DEFAULT_LIMITS = PhotoLimits()


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A decoded photo, upright, at a reduced size."""

    image_HWC: np.ndarray
    """uint8, (H, W, 3)."""
    width_px: int
    """Of the upright original."""
    height_px: int
    taken_at: datetime | None
    """Capture time by EXIF or XMP; naive unless the camera stored a time zone."""


def decode_square(
    data: bytes, *, side_px: int, limits: PhotoLimits = DEFAULT_LIMITS, jpeg_checked: bool = False
) -> Photo:
    """Decode the central square of a photo, the input of the lesion network.

    Args:
        data: a file in one of ``PHOTO_FORMATS``.
        side_px: side of the returned square.
        jpeg_checked: skip ``jpeg_decoding_cost``, 20 ms for 20 MB; the caller has called it.

    Raises:
        PhotoError: one of its subclasses, whose ``code`` is the HTTP error code.
    """

    def central(image: Image.Image) -> Image.Image:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box = (left, top, left + side, top + side)
        return image.resize((side_px, side_px), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)

    return _decode(data, limits, lambda size: (side_px, side_px), central, jpeg_checked)


def decode_bounded(
    data: bytes,
    *,
    max_side_px: int = MAX_FACE_PHOTO_SIDE_PX,
    limits: PhotoLimits = DEFAULT_LIMITS,
    jpeg_checked: bool = False,
) -> Photo:
    """Decode a whole photo, reduced to ``max_side_px`` on its long side, the input of face detection.

    A smaller photo keeps its size.

    Raises:
        PhotoError: one of its subclasses, whose ``code`` is the HTTP error code.
    """
    return _decode(
        data,
        limits,
        lambda size: _bounded(size, max_side_px),
        lambda image: _reduced(image, max_side_px),
        jpeg_checked,
    )


def jpeg_decoding_cost(data: bytes) -> int:
    """Return pixels times scans of a JPEG, the cost of decoding it, from its markers.

    Raises:
        UnreadableImageError: it has too many scans or segments.
    """
    pixels = scans = 0
    position = 2
    for _ in range(MAX_JPEG_SEGMENTS):
        found = _JPEG_SEGMENT.search(data, position)
        if found is None or found[1][0] == _END_OF_IMAGE:
            return pixels * scans
        marker, position = found[1][0], found.end()
        if marker in _START_OF_FRAME:
            height, width = (_two_bytes(data, position + offset) for offset in (3, 5))
            pixels = max(pixels, height * width)
        scans += marker == _START_OF_SCAN
        if scans > MAX_JPEG_SCANS:
            break
        position += max(2, _two_bytes(data, position))
    raise UnreadableImageError(
        f"the JPEG has more than {MAX_JPEG_SCANS} scans or {MAX_JPEG_SEGMENTS} segments, which no camera "
        "writes; save it again as an ordinary JPEG and send that"
    )


def photo_too_large(num_bytes: int, max_bytes: int) -> TooLargeError:
    """Return the error of a photo with more than ``max_bytes``."""
    return TooLargeError(
        f"the photo has {num_bytes / 1e6:.1f} MB, at most {max_bytes / 1e6:g} MB are allowed; "
        "send a smaller or more compressed one"
    )


def bound_array(image_HWC: np.ndarray, *, max_side_px: int = MAX_FACE_PHOTO_SIDE_PX) -> Photo:
    """Reduce decoded pixels, uint8 (H, W, 3), as ``decode_bounded`` does."""
    height, width = image_HWC.shape[:2]
    reduced = _reduced(Image.fromarray(image_HWC), max_side_px)
    return Photo(image_HWC=np.array(reduced), width_px=width, height_px=height, taken_at=None)


def _decode(
    data: bytes,
    limits: PhotoLimits,
    needed: Callable[[Size], Size],
    shrink: Callable[[Image.Image], Image.Image],
    jpeg_checked: bool,
) -> Photo:
    if len(data) > limits.max_bytes:
        raise photo_too_large(len(data), limits.max_bytes)
    _check_type(data)
    if not jpeg_checked and data.startswith(b"\xff\xd8"):
        jpeg_decoding_cost(data)
    try:
        with Image.open(io.BytesIO(data), formats=_PILLOW_FORMATS) as image:
            original = image.size
            _check_pixels(original, limits)
            image.draft(None, needed(original))
            image.load()
            exif = _exif(image)
            taken_at = capture_time(image)
            upright = _upright(_to_rgb(shrink(_resizable(image))), exif)
    except PhotoError:
        raise
    # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and others for damaged bytes
    except Exception as error:
        raise UnreadableImageError(
            "the photo starts like an image but cannot be decoded: it is damaged or truncated; send it again"
        ) from error
    is_transposed = exif.get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
    width, height = original[::-1] if is_transposed else original
    return Photo(image_HWC=np.array(upright), width_px=width, height_px=height, taken_at=taken_at)


def _check_type(data: bytes) -> None:
    if not data:
        raise UnreadableImageError("the photo is empty (0 bytes); send the file itself")
    if any(re.match(format.signature, data, re.DOTALL) for format in PHOTO_FORMATS):
        return
    what = "this is not"
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
        what = "this is a HEIC photo (on an iPhone choose Settings, Camera, Formats, Most Compatible), not"
    elif data[:6] in (b"GIF87a", b"GIF89a"):
        what = "this is a GIF, not"
    elif data[:5] == b"%PDF-":
        what = "this is a PDF, not"
    elif data[:64].lstrip().lower().startswith((b"<!doctype", b"<html")):
        what = "this is a web page, not"
    raise UnsupportedTypeError(f"{what} a {PHOTO_FORMAT_NAMES} image; save it as JPEG and send that")


def _two_bytes(data: bytes, position: int) -> int:
    return int.from_bytes(data[position : position + 2], "big")


def _check_pixels(size: Size, limits: PhotoLimits) -> None:
    pixels = size[0] * size[1]
    if pixels > limits.max_pixels:
        raise TooManyPixelsError(
            f"the photo has {size[0]} x {size[1]} = {pixels / 1e6:.1f} megapixels, at most "
            f"{limits.max_pixels / 1e6:g} are allowed; make it smaller"
        )


def _resizable(image: Image.Image) -> Image.Image:
    """Convert to a mode that Pillow resizes with interpolation; keep modes of fewer bytes."""
    if image.mode.startswith("I"):  # 16-bit grey; Pillow would clip it at 255
        return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode in ("RGB", "L", "RGBA", "LA", "CMYK") and "transparency" not in image.info:
        return image
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert to RGB on a white background."""
    if image.mode in ("RGBA", "LA"):
        coloured = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), coloured).convert("RGB")
    return image.convert("RGB")


def _bounded(size: Size, max_side_px: int) -> Size:
    ratio = min(1.0, max_side_px / max(size))
    return max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))


def _reduced(image: Image.Image, max_side_px: int) -> Image.Image:
    size = _bounded(image.size, max_side_px)
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)


def _exif(image: Image.Image) -> Image.Exif:
    try:
        return image.getexif()
    except Exception:  # damaged EXIF must not reject the photo
        return Image.Exif()


_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(image: Image.Image, exif: Image.Exif) -> Image.Image:
    transposition = _TRANSPOSITIONS.get(exif.get(ExifTags.Base.Orientation, 1))
    return image if transposition is None else image.transpose(transposition)
