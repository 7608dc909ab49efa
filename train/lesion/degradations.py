"""Degrade photos as phones, messengers and users do, for evaluation.

Lengths are for photos of 224 px on the short side.
"""

import io
from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter


def _blurred(image: Image.Image, sigma_px: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(sigma_px))


def _distant(image: Image.Image, share: float) -> Image.Image:
    """Shrink the photo to a share of the frame, on a background of its border's colour."""
    edge = max(4, min(image.size) // 14)
    pixels = np.asarray(image).astype(np.float32)
    border = np.concatenate([pixels[:edge].reshape(-1, 3), pixels[-edge:].reshape(-1, 3)])
    bright = border[border.mean(1) >= np.median(border.mean(1))]
    colour = tuple(int(value) for value in np.median(bright, axis=0))
    noise = np.random.default_rng(0).normal(0, 4, (image.height, image.width, 1))
    background = Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8))
    size = (max(8, round(image.width * share)), max(8, round(image.height * share)))
    small = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    feather = max(2, round(min(size) * 0.08))
    alpha = Image.new("L", size, 0)
    alpha.paste(255, (feather, feather, size[0] - feather, size[1] - feather))
    alpha = alpha.filter(ImageFilter.GaussianBlur(feather / 2))
    background.paste(small, ((image.width - size[0]) // 2, (image.height - size[1]) // 2), alpha)
    return background


def _compressed(image: Image.Image, quality: int) -> Image.Image:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return Image.open(content).convert("RGB")


def _cast(image: Image.Image, factors: tuple[float, float, float]) -> Image.Image:
    return Image.fromarray((np.asarray(image) * np.array(factors)).clip(0, 255).astype(np.uint8))


def _noisy(image: Image.Image, sigma: float) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, sigma, (image.height, image.width, 3))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


DEGRADATIONS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "blur 2 px": partial(_blurred, sigma_px=2),
    "blur 4 px": partial(_blurred, sigma_px=4),
    "blur 8 px": partial(_blurred, sigma_px=8),
    "half the frame": partial(_distant, share=0.5),
    "a quarter of the frame": partial(_distant, share=0.25),
    "brightness 0.3": lambda image: ImageEnhance.Brightness(image).enhance(0.3),
    "brightness 1.6": lambda image: ImageEnhance.Brightness(image).enhance(1.6),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "JPEG quality 10": partial(_compressed, quality=10),
    "JPEG quality 5": partial(_compressed, quality=5),
    "colour cast": partial(_cast, factors=(1.2, 1.0, 0.8)),
    "noise of 25": partial(_noisy, sigma=25),
}
"""RGB image in, RGB image of the same size out."""
JUDGEABLE = ("blur 4 px", "half the frame", "brightness 0.3")
"""Degradations after which a dermatologist could still see the lesion."""
