"""Decode photos to upright RGB pixels of the required size, for training and for serving.

A JPEG is decoded at a reduced size (DCT scaling) where the required size allows it.

Axes: H row, W column, C colour (red, green, blue).
"""

import io
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

import numpy as np
from PIL import ExifTags, Image

from models.image_files.avif import without_exif
from models.image_files.capture_time import capture_time
from models.image_files.color import to_srgb
from models.image_files.errors import PhotoError as PhotoError
from models.image_files.errors import TooLargeError, TooManyPixelsError, UnreadableImageError
from models.image_files.errors import UnsupportedTypeError as UnsupportedTypeError
from models.image_files.exif import is_usable_exif
from models.image_files.formats import recognise_format
from models.image_files.header import Size, header_size
from models.image_files.heic import load_reduced, open_heic
from models.image_files.helper_process import run_isolated
from models.image_files.jpeg import (
    end_after_last_scan,
    jpeg_decoding_cost,
    missing_rows,
    with_bounded_metadata,
)
from models.image_files.jpeg2000 import num_reductions
from models.image_files.png import pixel_chunks
from models.limits import (
    MAX_FACE_PHOTO_SIDE_PX,
    MAX_MISSING_ROWS,
    MAX_PHOTO_BYTES,
    MAX_PHOTO_PIXELS,
    PhotoFormat,
)
from models.rounded_text import ceil_text

# PhotoLimits is checked on every header before decoding; Pillow's limit would only warn
Image.MAX_IMAGE_PIXELS = None

_REDUCING_GAP = 3.0
"""Photos are reduced by a whole factor to at least so many times the needed size, then resized."""


@dataclass(frozen=True, kw_only=True)
class PhotoLimits:
    """Limits of one photo; a format may have a lower one of its own (``PhotoFormat.max_pixels``)."""

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
    """Capture time by EXIF or XMP; naive unless the camera stored a time zone.

    ``decode_square`` does not read it.
    """


Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass(frozen=True, kw_only=True)
class ReducedPhoto:
    """A whole photo, upright, decoded at a reduced size; parts of it are resized to the needed size."""

    image: Image.Image
    """In the colour space of the file."""
    width_px: int
    """Of the upright original."""
    height_px: int
    icc_profile: bytes | None

    @property
    def resolution(self) -> float:
        """Return the number of decoded pixels for each pixel of the original, along the short side."""
        return min(self.image.size) / min(self.width_px, self.height_px)

    @property
    def is_reduced(self) -> bool:
        """Whether the original has more pixels."""
        return self.image.size != (self.width_px, self.height_px)

    def frame(self, side_px: int) -> np.ndarray:
        """Return the whole photo as a square without its aspect ratio, uint8 (side_px, side_px, 3)."""
        return self._resized((0, 0, *self.image.size), side_px)

    def square(self, box: Box, side_px: int) -> Photo:
        """Return a square of the photo.

        Args:
            box: inside the photo, pixels of the upright original.
            side_px: side of the returned square.
        """
        width, height = self.image.size
        horizontal, vertical = width / self.width_px, height / self.height_px
        left, right = (min(edge * horizontal, width) for edge in box[::2])
        top, bottom = (min(edge * vertical, height) for edge in box[1::2])
        return Photo(
            image_HWC=self._resized((left, top, right, bottom), side_px),
            width_px=self.width_px,
            height_px=self.height_px,
            taken_at=None,
        )

    def _resized(self, box: Box, side_px: int) -> np.ndarray:
        size = (side_px, side_px)
        part = self.image.resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=_REDUCING_GAP)
        return np.array(to_srgb(part, self.icc_profile))


_Result = TypeVar("_Result", covariant=True)


class _Target(Protocol[_Result]):
    """The part of a photo that is decoded, and its size."""

    def needed(self, size: Size) -> Size:
        """Return the size that the whole decoded photo must at least have, before EXIF orientation."""
        ...

    def read(self, image: Image.Image, original: Size, orientation: int) -> _Result:
        """Return the result from the decoded pixels of a photo whose size was ``original``."""
        ...


@dataclass(frozen=True)
class _Square:
    """The central square of a photo."""

    side_px: int

    def needed(self, size: Size) -> Size:
        return self.side_px, self.side_px

    def read(self, image: Image.Image, original: Size, orientation: int) -> Photo:
        return _photo(image, self._shrink(_resizable(image)), original, orientation)

    def _shrink(self, image: Image.Image) -> Image.Image:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box = (left, top, left + side, top + side)
        return image.resize(
            (self.side_px, self.side_px), Image.Resampling.BICUBIC, box=box, reducing_gap=_REDUCING_GAP
        )


@dataclass(frozen=True)
class _Bounded:
    """A whole photo with a bounded long side; a smaller one keeps its size."""

    max_side_px: int

    def needed(self, size: Size) -> Size:
        ratio = min(1.0, self.max_side_px / max(size))
        return max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))

    def read(self, image: Image.Image, original: Size, orientation: int) -> Photo:
        taken_at = capture_time(image)
        return _photo(image, self.shrink(_resizable(image)), original, orientation, taken_at)

    def shrink(self, image: Image.Image) -> Image.Image:
        size = self.needed(image.size)
        if size == image.size:
            return image
        return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=_REDUCING_GAP)


@dataclass(frozen=True)
class _Whole:
    """A whole photo whose short side has at least ``needed_px``, if the original has as much."""

    needed_px: int
    is_isolated: bool
    """Whether it is sent from a helper process, and so reduced as far as a resize would reduce it."""

    def needed(self, size: Size) -> Size:
        return self.needed_px, self.needed_px

    def read(self, image: Image.Image, original: Size, orientation: int) -> ReducedPhoto:
        profile = image.info.get("icc_profile")
        reduced = _resizable(image)
        if self.is_isolated:
            reduced = reduced.reduce(_reduction(reduced.size, self.needed(reduced.size)))
        if orientation in _TRANSPOSITIONS:
            reduced = reduced.transpose(_TRANSPOSITIONS[orientation])
        width, height = _upright(original, orientation)
        return ReducedPhoto(image=reduced, width_px=width, height_px=height, icc_profile=profile)


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
    return _decode(data, _Square(side_px), limits, jpeg_checked)


def decode_bounded(
    data: bytes,
    *,
    max_side_px: int = MAX_FACE_PHOTO_SIDE_PX,
    limits: PhotoLimits = DEFAULT_LIMITS,
    jpeg_checked: bool = False,
) -> Photo:
    """Decode a whole photo, its long side reduced to ``max_side_px``, for face detection.

    A smaller photo keeps its size.

    Raises:
        PhotoError: one of its subclasses, whose ``code`` is the HTTP error code.
    """
    return _decode(data, _Bounded(max_side_px), limits, jpeg_checked)


def decode_reduced(
    data: bytes, *, needed_px: int, limits: PhotoLimits = DEFAULT_LIMITS, jpeg_checked: bool = False
) -> ReducedPhoto:
    """Decode a whole photo, reduced where its short side keeps at least ``needed_px``.

    A JPEG is reduced by DCT scaling, a photo from a helper process by a whole factor to at least three times
    ``needed_px``; the other formats keep their size.

    Raises:
        PhotoError: one of its subclasses, whose ``code`` is the HTTP error code.
    """
    is_isolated = recognise_format(data).is_isolated
    return _decode(data, _Whole(needed_px, is_isolated), limits, jpeg_checked)


def photo_too_large(num_bytes: int, max_bytes: int) -> TooLargeError:
    """Return the error of a photo with more than ``max_bytes``."""
    return TooLargeError(
        f"the photo has {ceil_text(num_bytes / 1e6, 1)} MB, at most {max_bytes / 1e6:g} MB are allowed; "
        "send a smaller or more compressed one"
    )


def photo_of_array(image_HWC: np.ndarray, *, limits: PhotoLimits = DEFAULT_LIMITS) -> ReducedPhoto:
    """Wrap decoded pixels, uint8 (H, W, 3), upright, in sRGB.

    Raises:
        TooManyPixelsError: they exceed ``limits.max_pixels``.
        UnreadableImageError: there are none.
    """
    height, width = image_HWC.shape[:2]
    if not width or not height:
        raise UnreadableImageError(f"the photo has {width} x {height} pixels; send its pixels")
    if width * height > limits.max_pixels:
        raise TooManyPixelsError(
            f"the photo has {width} x {height} = {ceil_text(width * height / 1e6, 1)} megapixels, at most "
            f"{limits.max_pixels / 1e6:g} are allowed; make it smaller"
        )
    return ReducedPhoto(image=Image.fromarray(image_HWC), width_px=width, height_px=height, icc_profile=None)


def bound_array(image_HWC: np.ndarray, *, max_side_px: int = MAX_FACE_PHOTO_SIDE_PX) -> Photo:
    """Reduce decoded pixels, uint8 (H, W, 3), as ``decode_bounded`` does."""
    height, width = image_HWC.shape[:2]
    reduced = _Bounded(max_side_px).shrink(Image.fromarray(image_HWC))
    return Photo(image_HWC=np.array(reduced), width_px=width, height_px=height, taken_at=None)


def _decode(data: bytes, target: _Target[_Result], limits: PhotoLimits, jpeg_checked: bool) -> _Result:
    if len(data) > limits.max_bytes:
        raise photo_too_large(len(data), limits.max_bytes)
    format = recognise_format(data)
    size = header_size(data, format)
    if size is not None:
        _check_pixels(size, format, limits)
    if format.is_isolated:
        return run_isolated(_decode_format, data, format, target, limits)
    if format.name == "JPEG" and not jpeg_checked:
        jpeg_decoding_cost(data)
    return _decode_format(data, format, target, limits)


def _decode_format(
    data: bytes, format: PhotoFormat, target: _Target[_Result], limits: PhotoLimits
) -> _Result:
    try:
        if format.name == "HEIC":
            return _decode_heic(data, format, target, limits)
        if format.name == "PNG":
            data = pixel_chunks(data)
        elif format.name == "JPEG":
            data = with_bounded_metadata(data)
        try:
            return _decode_with_pillow(data, format, target, limits)
        except PhotoError:
            raise
        except (OSError, ValueError):  # of truncated files, and of an AVIF with damaged EXIF data
            is_jpeg, is_avif = format.name == "JPEG", format.name == "AVIF"
            repaired = end_after_last_scan(data) if is_jpeg else without_exif(data) if is_avif else None
            if repaired is None:
                raise
            return _decode_with_pillow(repaired, format, target, limits, is_cut=is_jpeg)
    except (PhotoError, MemoryError):
        raise
    # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and others for damaged bytes
    except Exception as error:
        raise UnreadableImageError(
            f"the photo starts like a {format.name} image but cannot be decoded: it is damaged or truncated; "
            "send it again"
        ) from error


def _decode_with_pillow(
    data: bytes, format: PhotoFormat, target: _Target[_Result], limits: PhotoLimits, *, is_cut: bool = False
) -> _Result:
    with Image.open(io.BytesIO(data), formats=[format.pillow_name]) as image:
        original = image.size
        _check_pixels(original, format, limits)
        needed = target.needed(original)
        if format.name == "JPEG 2000":
            _set_reduction(image, data, _reduction(original, needed))
        else:
            image.draft(None, needed)
        image.load()
        if not is_usable_exif(image.info.get("exif", b"")):
            del image.info["exif"]
        if is_cut and (missing := missing_rows(image)) > MAX_MISSING_ROWS:
            raise UnreadableImageError(
                f"the JPEG is truncated: {missing:.0%} of its rows are missing; send the whole file"
            )
        return target.read(image, original, _orientation(image))


def _decode_heic(data: bytes, format: PhotoFormat, target: _Target[_Result], limits: PhotoLimits) -> _Result:
    picture = open_heic(data)
    original = picture.size
    _check_pixels(original, format, limits)
    image = load_reduced(picture, _reduction(original, target.needed(original)))
    return target.read(image, original, 1)


def _photo(
    image: Image.Image,
    shrunk: Image.Image,
    original: Size,
    orientation: int,
    taken_at: datetime | None = None,
) -> Photo:
    upright = to_srgb(shrunk, image.info.get("icc_profile"))
    if orientation in _TRANSPOSITIONS:
        upright = upright.transpose(_TRANSPOSITIONS[orientation])
    width, height = _upright(original, orientation)
    return Photo(image_HWC=np.array(upright), width_px=width, height_px=height, taken_at=taken_at)


def _upright(size: Size, orientation: int) -> Size:
    return (size[1], size[0]) if orientation in (5, 6, 7, 8) else size


def _check_pixels(size: Size, format: PhotoFormat, limits: PhotoLimits) -> None:
    pixels, allowed = size[0] * size[1], min(limits.max_pixels, format.max_pixels)
    if pixels <= allowed:
        return
    advice = "make it smaller"
    if allowed < limits.max_pixels:
        advice += f" or send it as JPEG, of which {limits.max_pixels / 1e6:g} are allowed"
    raise TooManyPixelsError(
        f"the {format.name} photo has {size[0]} x {size[1]} = {ceil_text(pixels / 1e6, 1)} megapixels, "
        f"at most {allowed / 1e6:g} are allowed; {advice}"
    )


def _reduction(size: Size, needed: Size) -> int:
    """Return the whole factor by which a photo may be reduced before it is resized."""
    return max(1, int(min(size[0] / needed[0], size[1] / needed[1]) / _REDUCING_GAP))


def _set_reduction(image: Image.Image, data: bytes, factor: int) -> None:
    """Let the decoder of JPEG 2000 leave out the finest resolutions."""
    # Pillow's documented attribute of this format hides Image.reduce
    image.reduce = min(factor.bit_length() - 1, num_reductions(data))  # pyright: ignore[reportAttributeAccessIssue]


def _resizable(image: Image.Image) -> Image.Image:
    """Convert to a mode that Pillow resizes with interpolation; keep modes of fewer bytes."""
    if image.mode.startswith("I;16"):  # Pillow would clip it at 255
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise UnreadableImageError(
            "the photo has 32 bits per channel, at most 16 are supported; save it with 8-bit channels"
        )
    if image.mode in ("RGB", "L", "RGBA", "LA", "CMYK", "LAB") and "transparency" not in image.info:
        return image
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF must not reject the photo
        return 1
