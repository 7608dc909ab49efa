"""Draw a pigmented skin lesion as a dermatoscope shows it.

Axes: H row, W column, C colour, N neighbour.
"""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter


def draw_lesion(*, seed: int, size_px: int = 600) -> Image.Image:
    """Draw a nevus: a brown area with a pigment network, on skin with a few hairs.

    Args:
        seed: equal seeds give equal pictures.
        size_px: side of the picture.
    """
    rng = np.random.default_rng(seed)
    y_HW, x_HW = np.mgrid[0:size_px, 0:size_px] / size_px - 0.5
    inside_HW, depth_HW = _pigment_area(rng, x_HW, y_HW)
    pigment_HW = inside_HW * np.clip(depth_HW * (0.78 + 0.34 * _pigment_network(rng, size_px)), 0, 1.2)
    skin = np.array([228, 180, 158]) + rng.normal(0, 5, 3)
    brown = np.array([140, 90, 62]) + rng.normal(0, 7, 3)
    mottle_HW = 5 * _noise(rng, size_px, 4) + 3 * _noise(rng, size_px, 90)
    skin_HWC = skin + mottle_HW[..., None] * [1.0, 0.9, 0.8]
    pigment_HWC = pigment_HW[..., None]
    picture_HWC = skin_HWC * (1 - pigment_HWC) + (brown - 30 * pigment_HWC) * pigment_HWC
    vignette_HW = 1 - 0.5 * np.clip(np.hypot(x_HW, y_HW) - 0.42, 0, 1)
    picture = Image.fromarray(np.clip(picture_HWC * vignette_HW[..., None], 0, 255).astype(np.uint8))
    return _with_hairs(picture, rng).filter(ImageFilter.GaussianBlur(size_px / 500))


def _pigment_area(
    rng: np.random.Generator, x_HW: np.ndarray, y_HW: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the area of the pigment (0 to 1, soft border) and its depth, darker towards the middle."""
    size_px = len(x_HW)
    angle_HW = np.arctan2(y_HW, x_HW) + rng.uniform(0, 2 * math.pi)
    radius_HW = np.hypot(x_HW * rng.uniform(0.9, 1.2), y_HW * rng.uniform(0.9, 1.2))
    edge_HW = 0.26 + 0.018 * _noise(rng, size_px, 12)
    for wave in range(2, 7):
        edge_HW = edge_HW + rng.normal(0, 0.025 / wave) * np.cos(
            wave * angle_HW + rng.uniform(0, 2 * math.pi)
        )
    inside_HW = 1 / (1 + np.exp((radius_HW - edge_HW) / 0.016))
    depth_HW = 1 - 0.4 * np.clip(radius_HW / 0.3, 0, 1) + 0.12 * _noise(rng, size_px, 9)
    return inside_HW, depth_HW


def _noise(rng: np.random.Generator, size_px: int, cells: int) -> np.ndarray:
    """Return smooth noise of unit variance, with about ``cells`` bumps across the picture."""
    coarse = Image.fromarray(rng.normal(0, 1, (cells + 3, cells + 3)).astype(np.float32))
    fine_HW = np.asarray(coarse.resize((size_px, size_px), Image.Resampling.BICUBIC))
    return fine_HW / fine_HW.std()


def _pigment_network(rng: np.random.Generator, size_px: int, cells: int = 44) -> np.ndarray:
    """Return honeycomb lines, 0 to 1: the borders between cells around scattered points."""
    x_grid, y_grid = np.meshgrid(np.arange(cells + 2.0), np.arange(cells + 2.0))
    x_grid, y_grid = x_grid + rng.uniform(0, 0.85, x_grid.shape), y_grid + rng.uniform(0, 0.85, y_grid.shape)
    y_HW, x_HW = 1 + np.mgrid[0:size_px, 0:size_px] * cells / size_px
    row_HW, column_HW = y_HW.astype(int), x_HW.astype(int)
    distance_NHW = []
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            cell = (row_HW + down, column_HW + right)
            distance_NHW.append(np.hypot(x_grid[cell] - x_HW, y_grid[cell] - y_HW))
    nearest_HW, second_HW = np.sort(np.stack(distance_NHW), axis=0)[:2]
    return np.exp(-(((second_HW - nearest_HW) / 0.3) ** 2))


def _with_hairs(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    size_px = picture.width
    mask = Image.new("L", picture.size)
    t = np.linspace(0, 1, 40)[:, None]
    for _ in range(rng.integers(1, 5)):
        start = rng.uniform(0, 1, 2)
        end = start + rng.normal(0, 0.35, 2)
        middle = (start + end) / 2 + rng.normal(0, 0.08, 2)
        line = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end
        points = [(float(x), float(y)) for x, y in line * size_px]
        ImageDraw.Draw(mask).line(points, fill=150, width=max(1, size_px // 240))
    picture.paste((64, 44, 38), mask=mask.filter(ImageFilter.GaussianBlur(size_px / 500)))
    return picture
