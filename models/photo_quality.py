"""Find photos of lesions too poor to classify.

Measurements: docs/decisions/0020-usable-photos.md.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageStat

from models.images import Photo
from models.limits import MAX_WHITE_SHARE, MIN_BRIGHTNESS, MIN_CONTRAST, MIN_PHOTO_SIDE_PX, WHITE_BRIGHTNESS
from models.rounded_text import ceil_text

ProblemCode = Literal[
    "too_small",
    "too_dark",
    "overexposed",
    "not_skin",
    "no_lesion",
    "lesion_too_small",
    "blurred",
    "unfamiliar",
    "near_threshold",
    "several_lesions",
]
"""``near_threshold``, ``several_lesions`` and ``blurred`` are reasons beside a verdict."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One reason why a photo is not usable, or why its verdict is less certain."""

    code: ProblemCode
    message: str
    """What was found, what is needed and what to do."""


def find_problems(photo: Photo) -> list[Problem]:
    """Return why a photo is not usable; an empty list if it is.

    The rules reject only clear cases. They do not detect skin, blur or other objects.
    """
    problems: list[Problem] = []
    if min(photo.width_px, photo.height_px) < MIN_PHOTO_SIDE_PX:
        message = (
            f"the photo has {photo.width_px} x {photo.height_px} pixels, at least {MIN_PHOTO_SIDE_PX} x "
            f"{MIN_PHOTO_SIDE_PX} are needed; send the original photo, not a thumbnail or a strip of it"
        )
        problems.append(Problem(code="too_small", message=message))
    image = Image.fromarray(photo.image_HWC).reduce(4)  # means over 4 x 4 pixels: noise is no lesion
    share_up_to = np.cumsum(image.convert("L").histogram()) / (image.width * image.height)
    brightness = int(np.searchsorted(share_up_to, 0.99))
    white_share = 1 - float(share_up_to[WHITE_BRIGHTNESS - 1])
    if brightness < MIN_BRIGHTNESS:
        message = (
            f"the photo is black: 99% of it has a brightness of at most {brightness} of 255, at least "
            f"{MIN_BRIGHTNESS} is needed; take it again in daylight or brighter light"
        )
        problems.append(Problem(code="too_dark", message=message))
    elif white_share > MAX_WHITE_SHARE:
        message = (
            f"{ceil_text(100 * white_share)}% of the photo is white, at most {MAX_WHITE_SHARE:.0%} may be; "
            "take it again with less light or without the flash, so that the skin has its colour"
        )
        problems.append(Problem(code="overexposed", message=message))
    if not problems and max(ImageStat.Stat(image).stddev) < MIN_CONTRAST:
        message = (
            "the photo is one even colour and shows no lesion; take it again with the lens uncovered, the "
            "lesion in the middle and in focus"
        )
        problems.append(Problem(code="no_lesion", message=message))
    return problems
