"""Drawn photos for ``tests.random_checkpoints.drawn_localizer``: dark spots in light from one side."""

import io

import numpy as np
from PIL import Image, ImageDraw

SKIN, BLUE = (214, 170, 148), (90, 120, 210)
Ellipse = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""


def spots(*ellipses: Ellipse, size: tuple[int, int] = (320, 240), colour: tuple[int, ...] = SKIN) -> bytes:
    """Return a JPEG of dark spots."""
    noise_HWC = np.random.default_rng(0).normal(0, 8, (size[1], size[0], 3))
    light_W1 = np.linspace(0.9, 1.1, size[0])[:, None]
    image = Image.fromarray((np.array(colour) * light_W1 + noise_HWC).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for ellipse in ellipses:
        draw.ellipse(ellipse, fill=(90, 50, 40))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95)
    return file.getvalue()
