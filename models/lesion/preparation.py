"""Prepare a photo for the lesion network: decode, find the lesion, crop; importable without torch.

Measurements: docs/decisions/0024-localizer-and-gate.md.

Axes: H row, W column, C colour.
"""

from dataclasses import dataclass

import numpy as np

from models.images import (
    DEFAULT_LIMITS,
    Photo,
    PhotoError,
    PhotoLimits,
    ReducedPhoto,
    decode_reduced,
    decode_square,
    photo_of_array,
)
from models.lesion.gate import sharpness
from models.lesion.localizer import INPUT_PX, Box, Localization, Localizer, crop_square
from models.photo_quality import Problem, find_problems


@dataclass(frozen=True, kw_only=True)
class PreparedLesion:
    """The input of the lesion network, and what the gate needs to know about it."""

    image_HWC: np.ndarray
    """The crop, uint8, (side_px, side_px, 3)."""
    width_px: int
    """Of the upright original."""
    height_px: int
    localization: Localization | None
    """None without a localizer."""
    crop_box: Box
    """The crop, pixels of the upright original."""
    lesion_box: Box | None
    """Of the main lesion or as given, pixels of the upright original; None if no lesion was found."""
    is_box_given: bool
    """Whether a person marked the lesion."""
    sharpness: float
    """Of the crop, by ``models.lesion.gate.sharpness``."""
    problems: list[Problem]
    """Of ``models.photo_quality.find_problems`` for the crop."""


def prepare_lesion(
    data: bytes,
    *,
    localizer: Localizer | None,
    side_px: int,
    limits: PhotoLimits = DEFAULT_LIMITS,
    jpeg_checked: bool = False,
    box: Box | None = None,
) -> PreparedLesion:
    """Decode a photo, find its lesion and crop the square that the network reads.

    The photo is decoded at a reduced size; a second time, larger, if the crop has fewer than ``side_px``
    pixels a side there and the original has more. Without localizer and box the crop is that of
    ``decode_square``.

    Args:
        data: a file in one of ``PHOTO_FORMATS``.
        localizer: of the checkpoint; None: the central square.
        side_px: side of the network's input.
        limits: of the file.
        jpeg_checked: as for ``decode_square``.
        box: of the lesion, pixels of the upright original, instead of the localizer's.

    Raises:
        PhotoError: one of its subclasses, whose ``code`` is the HTTP error code.
        BoxError: ``box`` is empty or outside the photo.
    """
    if localizer is None and box is None:
        photo = decode_square(data, side_px=side_px, limits=limits, jpeg_checked=jpeg_checked)
        return _prepared(photo, crop_square(None, photo.width_px, photo.height_px))
    reduced = decode_reduced(data, needed_px=side_px, limits=limits, jpeg_checked=jpeg_checked)
    found, crop, lesion_box = _locate(reduced, localizer, box)
    return _prepared(
        _crop(data, reduced, crop, side_px, limits),
        crop,
        localization=found,
        lesion_box=lesion_box,
        is_box_given=box is not None,
    )


def prepare_lesion_pixels(
    image_HWC: np.ndarray,
    *,
    localizer: Localizer | None,
    side_px: int,
    limits: PhotoLimits = DEFAULT_LIMITS,
) -> PreparedLesion:
    """Find the lesion in decoded pixels and crop the square that the network reads.

    The result is that of a lossless file with these pixels.

    Args:
        image_HWC: uint8, (H, W, 3), RGB, upright, in sRGB.
        localizer: of the checkpoint; None: the central square.
        side_px: side of the network's input.
        limits: of the photo.

    Raises:
        PhotoError: there are no pixels, or too many.
    """
    photo = photo_of_array(image_HWC, limits=limits)
    found, crop, lesion_box = _locate(photo, localizer, None)
    return _prepared(photo.square(crop, side_px), crop, localization=found, lesion_box=lesion_box)


class BoxError(PhotoError):
    """Report a given box that is empty or outside the photo."""

    code = "invalid_request"


def check_box(box: Box, width_px: int, height_px: int) -> None:
    """Check that a given box is inside the photo and at least one pixel wide and high.

    Raises:
        BoxError: it is not.
    """
    is_inside = 0 <= box.left and box.right <= width_px and 0 <= box.top and box.bottom <= height_px
    if not (is_inside and box.right - box.left >= 1 and box.bottom - box.top >= 1):
        raise BoxError(
            f"the box {', '.join(f'{edge:g}' for edge in box)} does not fit the photo of {width_px} x "
            f"{height_px} pixels; send left,top,right,bottom in pixels of the upright photo, right at "
            "least 1 above left and bottom at least 1 above top"
        )


def _locate(
    photo: ReducedPhoto, localizer: Localizer | None, box: Box | None
) -> tuple[Localization | None, Box, Box | None]:
    """Return the localization, the square to crop and the box of the lesion, pixels of the original."""
    width, height = photo.width_px, photo.height_px
    if box is not None:
        check_box(box, width, height)
    found = None if localizer is None else localizer(photo.frame(INPUT_PX))
    shares = found.box if found is not None else None
    if box is not None:
        shares = box.scaled(1 / width, 1 / height)
    lesion_box = None if shares is None else shares.scaled(width, height)
    return found, crop_square(shares, width, height), lesion_box


def _crop(data: bytes, reduced: ReducedPhoto, crop: Box, side_px: int, limits: PhotoLimits) -> Photo:
    """Read the crop from the reduced photo, or from a larger one if that is too small for it."""
    if reduced.is_reduced and reduced.resolution * crop.longer_side < side_px:
        short = min(reduced.width_px, reduced.height_px)
        needed = round(short * side_px / crop.longer_side)
        reduced = decode_reduced(data, needed_px=needed, limits=limits, jpeg_checked=True)
    return reduced.square(crop, side_px)


def _prepared(
    photo: Photo,
    crop: Box,
    *,
    localization: Localization | None = None,
    lesion_box: Box | None = None,
    is_box_given: bool = False,
) -> PreparedLesion:
    return PreparedLesion(
        image_HWC=photo.image_HWC,
        width_px=photo.width_px,
        height_px=photo.height_px,
        localization=localization,
        crop_box=crop,
        lesion_box=lesion_box,
        is_box_given=is_box_given,
        sharpness=sharpness(photo.image_HWC),
        problems=find_problems(photo),
    )
