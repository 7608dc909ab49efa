"""Near duplicates as they occur in data sets: rotated, resized, re-encoded."""

import io

import numpy as np
from PIL import Image


def encoded(image: Image.Image, quality: int) -> Image.Image:
    """Return the image after JPEG compression."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def random_copy(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Turn or mirror an image, resize it by 0.3 to 2 and encode it at quality 30 to 95, all at random."""
    turn, scale = rng.integers(-1, 7), rng.uniform(0.3, 2)
    copy = image if turn < 0 else image.transpose(Image.Transpose(int(turn)))
    copy = copy.resize((round(copy.width * scale), round(copy.height * scale)))
    return encoded(copy, int(rng.integers(30, 96)))
