"""Photos of spots on skin, drawn by code, no two alike; and copies as people make them."""

import io

import numpy as np
from PIL import Image


def drawn(seed: int, side_px: int = 64) -> Image.Image:
    """A spot with blotches on skin, lit from one side."""
    random = np.random.default_rng(seed)
    place = np.linspace(-1, 1, side_px)
    grey_HW = 190 + 20 * np.add.outer(random.normal() * place, random.normal() * place)
    for _ in range(12):
        x, y = random.uniform(-0.7, 0.7, 2)
        width, height = random.uniform(0.05, 0.3, 2)
        across, down = np.exp(-(((place - x) / width) ** 2)), np.exp(-(((place - y) / height) ** 2))
        grey_HW -= random.uniform(10, 60) * np.outer(down, across)
    grey_HW += random.normal(0, 2, grey_HW.shape)
    image_HWC = np.stack([grey_HW, 0.8 * grey_HW, 0.7 * grey_HW], axis=-1)
    return Image.fromarray(image_HWC.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, quality: int) -> Image.Image:
    """The image after JPEG."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def changed(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """A copy turned or mirrored, resized by 0.3 to 2 and encoded anew at quality 30 to 95, by lot."""
    turn, scale = random.integers(-1, 7), random.uniform(0.3, 2)
    copy = image if turn < 0 else image.transpose(Image.Transpose(int(turn)))
    copy = copy.resize((round(copy.width * scale), round(copy.height * scale)))
    return encoded(copy, int(random.integers(30, 96)))
