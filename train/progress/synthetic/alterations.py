"""Change the circumstances of a photo and not the skin: light, distance, blur, glasses, compression.

Axes: H row, W column, C colour.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from models.face.alignment import crop_coordinates

Alteration = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def other_light(crop_HWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the crop in light of another brightness, colour and direction."""
    size_px = len(crop_HWC)
    y_HW, x_HW = np.mgrid[0:size_px, 0:size_px].astype(np.float32) / size_px - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    side_C = rng.uniform(0, 0.35) + rng.normal(0, 0.05, 3)
    light_HWC = 1 + 2 * (np.cos(angle) * x_HW + np.sin(angle) * y_HW)[..., None] * side_C
    gain_C = np.exp(rng.normal(0, 0.3) + rng.normal(0, 0.1, 3))
    pixels = (crop_HWC / 255) ** np.exp(rng.normal(0, 0.2)) * (255 * light_HWC * gain_C)
    grey_HW1 = pixels.mean(-1, keepdims=True)
    return _pixels(grey_HW1 + np.exp(rng.normal(0, 0.2)) * (pixels - grey_HW1))


def far_away(crop_HWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the crop of a face that is small in the photo: 28 to 48 px."""
    size_px = len(crop_HWC)
    side_px = int(rng.integers(size_px * 28 // 80, size_px * 48 // 80))
    small = Image.fromarray(crop_HWC).resize((side_px, side_px), Image.Resampling.BOX)
    return np.asarray(small.resize((size_px, size_px), Image.Resampling.BICUBIC))


def blurred(crop_HWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the crop out of focus."""
    radius_px = rng.uniform(1.0, 2.5) * len(crop_HWC) / 80
    return np.asarray(Image.fromarray(crop_HWC).filter(ImageFilter.GaussianBlur(radius_px)))


def glasses(crop_HWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the crop with glasses: dark rims around the eyes, a bridge, a faint reflection."""
    x_HW, y_HW = crop_coordinates(len(crop_HWC))
    width, height, rim = rng.uniform(0.32, 0.42), rng.uniform(0.2, 0.32), rng.uniform(0.03, 0.07)
    radius_HW = np.hypot((abs(x_HW) - 0.5) / width, (y_HW - 0.04) / height)
    rim_HW = abs(radius_HW - 1) < rim / height
    bridge_HW = (abs(x_HW) < 0.5 - width) & (abs(y_HW + 0.02) < rim / 2)
    alpha_HW = np.where(rim_HW | bridge_HW, 0.85, 0.0)
    frame_C = rng.uniform(10, 90) + rng.uniform(-10, 10, 3)
    lens_HW1 = (0.12 * rng.random() * (radius_HW < 1))[..., None]
    pixels = crop_HWC * (1 - lens_HW1) + 235 * lens_HW1
    return _pixels(pixels * (1 - alpha_HW[..., None]) + frame_C * alpha_HW[..., None])


def compressed(crop_HWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the crop after strong JPEG compression."""
    file = io.BytesIO()
    Image.fromarray(crop_HWC).save(file, "JPEG", quality=int(rng.integers(8, 30)))
    return np.asarray(Image.open(file).convert("RGB"))


ALTERATIONS: dict[str, Alteration] = {
    "light": other_light,
    "distance": far_away,
    "blur": blurred,
    "glasses": glasses,
    "compression": compressed,
}


def _pixels(values_HWC: np.ndarray) -> np.ndarray:
    return np.clip(values_HWC, 0, 255).astype(np.uint8)
