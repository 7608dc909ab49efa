"""Draw skin lesions on a face crop, and simulate the camera.

Positions are in face coordinates (``models.face.alignment``), which follow the landmarks.
Axes: H row, W column, C colour, K lesion, N position.
"""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from models.face.alignment import FACE_LANDMARKS_52

LIGHT_HALO = np.array([0.02, 0.30, 0.27])
LIGHT_CORE = np.array([0.22, 0.62, 0.56])
LIGHT_MOLE = np.array([0.45, 0.58, 0.62])
"""Share of red, green and blue light that a halo, a core and a mole at full strength absorb."""


@dataclass(frozen=True, kw_only=True)
class Lesions:
    """Lesions of one person at one time: positions and sizes in face coordinates."""

    position_K2: np.ndarray
    radius_K: np.ndarray
    """Of the core; the halo is wider by ``halo_K``."""
    halo_K: np.ndarray
    strength_K: np.ndarray
    """0 (invisible) to 1 (full strength)."""
    brown_K: np.ndarray
    """bool: a mole, independent of severity."""
    sharpness: float = 1.5
    """Exponent of the profile: a higher one has a harder edge."""
    tint_C: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Factor of the absorbed light for each colour: 1 is red; brown, purple and pink differ."""


@dataclass(frozen=True, kw_only=True)
class Blush:
    """Wide soft redness of one person's skin that does not change, such as ruddy cheeks."""

    position_K2: np.ndarray
    radius_K: np.ndarray
    strength_K: np.ndarray


def face_to_pixels(landmarks_52: np.ndarray) -> np.ndarray:
    """Return the affine map (2, 3) from face coordinates to pixels, fitted to the landmarks."""
    source_53 = np.concatenate([FACE_LANDMARKS_52, np.ones((5, 1))], axis=1)
    return np.linalg.lstsq(source_53, np.asarray(landmarks_52, float), rcond=None)[0].T


def skin_of(crop_HWC: np.ndarray, map_23: np.ndarray) -> np.ndarray:
    """Return the likelihood of skin of each pixel: float (H, W), 0 to 1.

    It compares the colour, more than the brightness, with cheeks and forehead: hair, background, beards, eyes
    and glasses get no lesions.
    """
    log_HWC = np.log(crop_HWC.astype(np.float32) + 8)
    positions_N2 = np.array([[-0.45, 0.6], [0.45, 0.6], [0.0, -0.5], [0.0, 0.35], [0.0, 1.5]])
    pixels_N2 = np.clip(_to_pixels(positions_N2, map_23).round().astype(int), 2, len(crop_HWC) - 3)
    cheek = np.median([log_HWC[y - 2 : y + 3, x - 2 : x + 3].mean((0, 1)) for x, y in pixels_N2], axis=0)
    away_HWC = log_HWC - cheek
    chroma_HWC = away_HWC - away_HWC.mean(-1, keepdims=True)
    distance_HW = (chroma_HWC**2).sum(-1) / 0.2**2 + (away_HWC.mean(-1) / 0.9) ** 2
    likely = Image.fromarray((255 * np.clip(1.5 * np.exp(-distance_HW), 0, 1)).astype(np.uint8))
    return np.asarray(likely.filter(ImageFilter.GaussianBlur(2))) / np.float32(255)


def draw_lesions(
    crop_HWC: np.ndarray, skin_HW: np.ndarray, map_23: np.ndarray, lesions: Lesions
) -> np.ndarray:
    """Return the crop with the lesions in its skin: float32 (H, W, C), 0 to 255.

    A lesion absorbs green and blue light and keeps the shading, so it suits any skin and light.
    """
    centre_K2 = _to_pixels(lesions.position_K2, map_23)
    scale = float(np.sqrt(abs(np.linalg.det(map_23[:, :2]))))
    radius_K = lesions.radius_K * scale
    brown_K = lesions.brown_K
    crop = crop_HWC.astype(np.float32)
    for light, sigma_K, strength_K in (
        (LIGHT_HALO, radius_K * lesions.halo_K, np.where(brown_K, 0, lesions.strength_K)),
        (LIGHT_CORE, radius_K, np.where(brown_K, 0, lesions.strength_K)),
        (LIGHT_MOLE, radius_K, np.where(brown_K, lesions.strength_K, 0)),
    ):
        alpha_HW = skin_HW * _bumps(skin_HW.shape, centre_K2, sigma_K, strength_K, lesions.sharpness)
        absorbed_C = np.clip(light * lesions.tint_C, 0, 1).astype(np.float32)
        crop = crop * (1 - alpha_HW[..., None] * absorbed_C)
    return crop


def draw_blush(crop_HWC: np.ndarray, skin_HW: np.ndarray, map_23: np.ndarray, blush: Blush) -> np.ndarray:
    """Return the crop with a person's constant redness in its skin: float32 (H, W, C), 0 to 255."""
    y_HW, x_HW = np.mgrid[0 : len(crop_HWC), 0 : crop_HWC.shape[1]]
    scale = float(np.sqrt(abs(np.linalg.det(map_23[:, :2]))))
    alpha_HW = np.zeros(skin_HW.shape, np.float32)
    for (x, y), radius, strength in zip(
        _to_pixels(blush.position_K2, map_23), blush.radius_K * scale, blush.strength_K, strict=True
    ):
        square_HW = ((x_HW - x) ** 2 + (y_HW - y) ** 2) / radius**2
        alpha_HW = np.maximum(alpha_HW, strength * np.exp(-square_HW / 2)).astype(np.float32)
    return crop_HWC.astype(np.float32) * (1 - (skin_HW * alpha_HW)[..., None] * LIGHT_HALO.astype(np.float32))


def _bumps(
    shape: tuple[int, ...],
    centre_K2: np.ndarray,
    sigma_K: np.ndarray,
    strength_K: np.ndarray,
    sharpness: float,
) -> np.ndarray:
    """Return the maximum of round soft bumps at each pixel, (H, W); flat in the middle, 0 beyond 2 sigma."""
    height, width = shape
    shown = strength_K > 0
    centre_K2, sigma_K, strength_K = centre_K2[shown], sigma_K[shown], strength_K[shown]
    alpha = np.zeros(height * width, np.float32)
    if len(sigma_K):
        reach = int(np.ceil(2 * sigma_K.max())) + 1
        offset = np.arange(-reach, reach + 1)
        corner_K2 = np.floor(centre_K2).astype(int)
        x_KHW = np.broadcast_to(
            corner_K2[:, 0, None, None] + offset[None, None], (len(sigma_K), len(offset), len(offset))
        )
        y_KHW = np.broadcast_to(corner_K2[:, 1, None, None] + offset[None, :, None], x_KHW.shape)
        square = (x_KHW - centre_K2[:, 0, None, None]) ** 2 + (y_KHW - centre_K2[:, 1, None, None]) ** 2
        bump = strength_K[:, None, None] * np.exp(-((square / sigma_K[:, None, None] ** 2) ** sharpness) / 2)
        inside = (x_KHW >= 0) & (x_KHW < width) & (y_KHW >= 0) & (y_KHW < height)
        np.maximum.at(alpha, (y_KHW * width + x_KHW)[inside], bump[inside].astype(np.float32))
    return alpha.reshape(height, width)


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Pose, light and camera of one photo."""

    turn_deg: float
    scale: float
    shift_2: tuple[float, float]
    """As a fraction of the side of the crop."""
    gain_C: tuple[float, float, float]
    gamma: float
    saturation: float = 1.0
    """Factor of the distance of each pixel from its grey level."""
    side_light_C: tuple[float, float, float]
    """Brightness of one side relative to the middle, as a fraction for each colour."""
    side_light_deg: float
    blur_px: float
    noise: float
    """Standard deviation in grey levels."""
    jpeg_quality: int


def take_photo(
    face_HWC: np.ndarray, camera: Camera, *, crop_share: float, size_px: int, rng: np.random.Generator
) -> np.ndarray:
    """Photograph a face: uint8 (size_px, size_px, C).

    Args:
        face_HWC: float32, 0 to 255, with a wider border than the photo.
        camera: pose, light and camera.
        crop_share: side of the photo in a straight shot, as a fraction of the side of ``face_HWC``.
        size_px: side of the photo in pixels.
        rng: of the noise.
    """
    side = len(face_HWC)
    radian = np.deg2rad(camera.turn_deg)
    step = crop_share * side / size_px / camera.scale
    cos, sin = step * np.cos(radian), step * np.sin(radian)
    centre = side / 2 * np.ones(2) + np.asarray(camera.shift_2) * crop_share * side
    x0, y0 = centre - size_px / 2 * np.array([cos - sin, sin + cos])
    shot = Image.fromarray(np.clip(face_HWC, 0, 255).astype(np.uint8)).transform(
        (size_px, size_px), Image.Transform.AFFINE, (cos, -sin, x0, sin, cos, y0), Image.Resampling.BICUBIC
    )
    if camera.blur_px > 0.2:
        shot = shot.filter(ImageFilter.GaussianBlur(camera.blur_px))
    y_HW, x_HW = np.mgrid[0:size_px, 0:size_px].astype(np.float32) / size_px - 0.5
    angle = np.deg2rad(camera.side_light_deg)
    side_HW = 2 * (np.cos(angle) * x_HW + np.sin(angle) * y_HW)
    light_HWC = 1 + side_HW[..., None] * np.array(camera.side_light_C, np.float32)
    light_HWC = light_HWC * np.array(camera.gain_C, np.float32)
    pixels = (np.asarray(shot, np.float32) / 255) ** np.float32(camera.gamma) * (255 * light_HWC)
    if camera.saturation != 1:
        grey_HW1 = pixels.mean(-1, keepdims=True)
        pixels = grey_HW1 + np.float32(camera.saturation) * (pixels - grey_HW1)
    pixels += np.float32(camera.noise) * rng.standard_normal(pixels.shape, np.float32)
    file = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=camera.jpeg_quality)
    return np.asarray(Image.open(file).convert("RGB"))


def _to_pixels(position_N2: np.ndarray, map_23: np.ndarray) -> np.ndarray:
    return position_N2 @ map_23[:, :2].T + map_23[:, 2]
