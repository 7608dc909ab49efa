"""Drawn photos of skin with dark spots, which the localizer of ``tests/random_checkpoints.py`` finds."""

import io
from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw

from models.lesion.localizer import Box

SKIN, LESION = (225, 180, 158), (105, 62, 45)


def draw_spots(size: tuple[int, int], boxes: Sequence[Box]) -> Image.Image:
    """Draw skin with a dark rectangle for each box, in shares of the frame."""
    photo = Image.new("RGB", size, SKIN)
    draw = ImageDraw.Draw(photo)
    for box in boxes:
        left, top, right, bottom = box.scaled(*size)
        draw.rectangle((left, top, right - 1, bottom - 1), fill=LESION)
    return photo


def draw_stripes(size: tuple[int, int], box: Box, period_px: int) -> Image.Image:
    """Draw skin with a lesion of fine stripes, which a reduced decode loses."""
    photo = draw_spots(size, [box])
    draw = ImageDraw.Draw(photo)
    left, top, right, bottom = (round(edge) for edge in box.scaled(*size))
    for x in range(left, right, period_px):
        draw.rectangle((x, top, x + period_px // 2 - 1, bottom - 1), fill=(150, 100, 80))
    return photo


def encoded(photo: Image.Image, format: str = "JPEG", **options: Any) -> bytes:
    """Return the photo as a file."""
    file = io.BytesIO()
    photo.save(file, format, **options)
    return file.getvalue()
