"""Degrade a batch of photos on its device: light, blur, noise, compression, hair.

Each change applies to a share of the batch: a slice of rows at a random position. Photos of a batch are
independent, and an index would cost a pass over all. Axes: B photo, C colour, H row, W column, K overlay.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from train.gpu_recipe.geometry import Draw


@dataclass(frozen=True, kw_only=True)
class Degradation:
    """Share of a batch for each change, and its strength."""

    colour: float = 0.8
    dark_or_bright: float = 0.2
    grey: float = 0.1
    low_resolution: float = 0.2
    blur: float = 0.35
    max_blur_px: float = 5.0
    """Standard deviation, at a side of 160 px."""
    noise: float = 0.2
    jpeg: float = 0.25
    overlay: float = 0.18
    """Hair, rulers and pen."""
    dark_corners: float = 0.12

    def eased(self) -> "Degradation":
        """Return degradations of half as many photos, except those of colour."""
        shares = {
            name: share / 2 for name, share in vars(self).items() if name not in ("colour", "max_blur_px")
        }
        return replace(self, **shares)


Change = Callable[[Tensor], Tensor]


def degrade(image_BCHW: Tensor, how: Degradation, draw: Draw, overlay_KHW: Tensor) -> Tensor:
    """Return the photos, float32 0 to 1, after all changes.

    Args:
        overlay_KHW: of ``draw_overlays``, on the same device.
    """
    side_px = image_BCHW.shape[-1]
    rows = draw.host
    changes: list[tuple[float, Change]] = [
        (how.overlay, lambda x: _overlay(x, draw, overlay_KHW)),
        (how.dark_corners, lambda x: _dark_corners(x, draw)),
        (how.colour, lambda x: _colour(x, draw)),
        (how.dark_or_bright, lambda x: _exposure(x, draw)),
        (how.grey, lambda x: _luma(x).expand_as(x)),
        (how.low_resolution, lambda x: _low_resolution(x, rows.uniform(0.3, 0.85))),
        (
            how.blur,
            lambda x: gaussian_blur(x, draw.uniform(0.3, 1, len(x)) ** 1.5 * how.max_blur_px * side_px / 160),
        ),
        (how.noise, lambda x: _noise(x, draw)),
        (how.jpeg, lambda x: jpeg(x, draw.uniform(5, 70, len(x)))),
    ]
    for share, change in changes:
        image_BCHW = _on_some(image_BCHW, share, change, rows)
    return image_BCHW


def draw_overlays(count: int, side_px: int, seed: int) -> Tensor:
    """Draw hair, ruler marks and pen strokes as opacities, (count, side_px, side_px)."""
    lot = random.Random(seed)
    pictures = []
    for number in range(count):
        image = Image.new("L", (2 * side_px, 2 * side_px))
        pen = ImageDraw.Draw(image)
        if number % 8 == 0:
            _ruler(pen, 2 * side_px, lot)
        elif number % 8 == 1:
            _curve(pen, 2 * side_px, lot, width=lot.randint(5, 12), opacity=lot.randint(90, 180))
        else:
            for _ in range(lot.randint(2, 16)):
                _curve(pen, 2 * side_px, lot, width=lot.randint(1, 3), opacity=lot.randint(120, 250))
        pictures.append(np.asarray(image.resize((side_px, side_px), Image.Resampling.BOX)))
    return torch.from_numpy(np.stack(pictures).astype(np.float32) / 255)


def jpeg(image_BCHW: Tensor, quality_B: Tensor) -> Tensor:
    """Simulate JPEG: halve the resolution of the colours, and quantize blocks of 8 x 8 pixels."""
    luma_B1HW = _luma(image_BCHW)
    chroma_BCHW = torch.cat(
        [(image_BCHW[:, 2:] - luma_B1HW) * 0.564, (image_BCHW[:, :1] - luma_B1HW) * 0.713], dim=1
    )
    scale_B = torch.where(quality_B < 50, 50 / quality_B, 2 - quality_B / 50)
    luma_table, chroma_table, cosines = _jpeg_tables(image_BCHW.device)
    luma_B1HW = _quantized(luma_B1HW, luma_table, scale_B, cosines)
    half_BCHW = F.avg_pool2d(chroma_BCHW, 2)
    half_BCHW = _quantized(half_BCHW, chroma_table, scale_B, cosines)
    chroma_BCHW = F.interpolate(half_BCHW, scale_factor=2, mode="bilinear", align_corners=False)
    blue, red = chroma_BCHW[:, :1] / 0.564, chroma_BCHW[:, 1:] / 0.713
    green = -(0.114 * blue + 0.299 * red) / 0.587
    return (luma_B1HW + torch.cat([red, green, blue], dim=1)).clamp(0, 1)


def gaussian_blur(image_BCHW: Tensor, sigma_B: Tensor) -> Tensor:
    """Blur each photo with its own standard deviation, in pixels."""
    place = torch.arange(image_BCHW.shape[-1], device=image_BCHW.device)
    distance_HH = (place[:, None] - place).float()
    weight_BHH = torch.exp(-0.5 * (distance_HH / sigma_B.clamp_min(0.05)[:, None, None]) ** 2)
    weight_BHH = (weight_BHH / weight_BHH.sum(2, keepdim=True))[:, None]
    return weight_BHH @ image_BCHW @ weight_BHH.mT


def _on_some(image_BCHW: Tensor, share: float, change: Change, rows: random.Random) -> Tensor:
    count = round(share * len(image_BCHW))
    if not count:
        return image_BCHW
    first = rows.randint(0, len(image_BCHW) - count)
    before, some, after = image_BCHW.split([first, count, len(image_BCHW) - first - count])
    return torch.cat([before, change(some), after])


def _luma(image_BCHW: Tensor) -> Tensor:
    red, green, blue = image_BCHW.split(1, dim=1)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _colour(image_BCHW: Tensor, draw: Draw) -> Tensor:
    """Change white balance, brightness, contrast and saturation."""
    count = len(image_BCHW)
    cast = draw.log_uniform(0.86, 1.16, count, 3, 1, 1) * draw.log_uniform(0.8, 1.25, count, 1, 1, 1)
    image_BCHW = image_BCHW * cast
    mean = image_BCHW.mean((1, 2, 3), keepdim=True)
    image_BCHW = mean + (image_BCHW - mean) * draw.log_uniform(0.7, 1.4, count, 1, 1, 1)
    luma = _luma(image_BCHW)
    return (luma + (image_BCHW - luma) * draw.uniform(0.5, 1.4, count, 1, 1, 1)).clamp(0, 1)


def _exposure(image_BCHW: Tensor, draw: Draw) -> Tensor:
    """Underexpose or overexpose strongly, with another tone curve."""
    count = len(image_BCHW)
    gamma = draw.log_uniform(0.6, 1.6, count, 1, 1, 1)
    factor = torch.where(
        draw.chance(0.65, count, 1, 1, 1),
        draw.log_uniform(0.25, 0.8, count, 1, 1, 1),
        draw.log_uniform(1.2, 1.9, count, 1, 1, 1),
    )
    return (image_BCHW.clamp_min(1e-4) ** gamma * factor).clamp(0, 1)


def _low_resolution(image_BCHW: Tensor, factor: float) -> Tensor:
    side_px = image_BCHW.shape[-1]
    small_px = max(16, round(side_px * factor))
    small = F.interpolate(image_BCHW, size=(small_px, small_px), mode="bilinear", antialias=True)
    return F.interpolate(small, size=(side_px, side_px), mode="bicubic").clamp(0, 1)


def _noise(image_BCHW: Tensor, draw: Draw) -> Tensor:
    """Add camera noise: fine or coarse grain, stronger in bright areas."""
    count = len(image_BCHW)
    fine = draw.normal(*image_BCHW.shape)
    coarse = F.avg_pool2d(F.pad(fine, (1, 1, 1, 1), mode="reflect"), 3, stride=1) * 2.2
    grain = torch.where(draw.chance(0.5, count, 1, 1, 1), fine, coarse)
    strength = draw.uniform(0.005, 0.06, count, 1, 1, 1) * (0.5 + image_BCHW.clamp(0, 1).sqrt())
    return (image_BCHW + grain * strength).clamp(0, 1)


def _overlay(image_BCHW: Tensor, draw: Draw, overlay_KHW: Tensor) -> Tensor:
    count, _, side_px, _ = image_BCHW.shape
    opacity = overlay_KHW[draw.integers(len(overlay_KHW), count)][:, None]
    angle = draw.uniform(0, 2 * math.pi, count)
    zoom = draw.log_uniform(0.5, 1.1, count)
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    zero = torch.zeros_like(angle)
    affine = torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)
    grid = F.affine_grid(affine, [count, 1, side_px, side_px], align_corners=False)
    opacity = F.grid_sample(opacity, grid, align_corners=False, padding_mode="reflection")
    opacity = opacity * draw.uniform(0.4, 1, count, 1, 1, 1)
    light = draw.chance(0.2, count, 1, 1, 1) * 0.6
    colour = draw.uniform(0, 0.25, count, 1, 1, 1) + light + draw.uniform(0, 0.15, count, 3, 1, 1)
    return image_BCHW + opacity * (colour - image_BCHW)


def _dark_corners(image_BCHW: Tensor, draw: Draw) -> Tensor:
    """Darken the photo outside a circle, like the lens of a dermatoscope or a lamp."""
    count, _, side_px, _ = image_BCHW.shape
    step = torch.linspace(-1, 1, side_px, device=image_BCHW.device)
    centre = draw.uniform(-0.15, 0.15, count, 2)
    radius = torch.hypot(
        step[None, :, None] - centre[:, 0, None, None], step[None, None] - centre[:, 1, None, None]
    )
    edge = draw.uniform(0.85, 1.35, count, 1, 1)
    shade = ((edge - radius) / draw.log_uniform(0.02, 0.5, count, 1, 1)).clamp(0, 1)
    floor = draw.uniform(0, 0.3, count, 1, 1)
    return image_BCHW * (floor + (1 - floor) * shade)[:, None]


def _quantized(plane_BCHW: Tensor, table: Tensor, scale_B: Tensor, cosines: Tensor) -> Tensor:
    count, channels, height, width = plane_BCHW.shape
    pad = (0, -width % 8, 0, -height % 8)
    plane = F.pad(plane_BCHW, pad, mode="replicate")
    blocks = plane.reshape(count, channels, plane.shape[2] // 8, 8, -1, 8).transpose(3, 4) * 255
    step = (table * scale_B[:, None, None]).clamp_min(1)[:, None, None, None]
    coefficients = ((cosines @ blocks @ cosines.T) / step).round() * step
    blocks = cosines.T @ coefficients @ cosines / 255
    return blocks.transpose(3, 4).reshape(plane.shape)[:, :, :height, :width]


@cache
def _jpeg_tables(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return JPEG's example tables (ITU-T T.81, annex K) and the 8 x 8 cosine transform."""
    luma = (
        "16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62 "
        "18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 "
        "72 92 95 98 112 100 103 99"
    )
    chroma = (
        "17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99 "
        + "99 " * 32
    )
    number = torch.arange(8.0)
    cosines = torch.cos(math.pi / 8 * number[:, None] * (number + 0.5)) * math.sqrt(2 / 8)
    cosines[0] /= math.sqrt(2)
    tables = [torch.tensor([float(step) for step in text.split()]).reshape(8, 8) for text in (luma, chroma)]
    return tables[0].to(device), tables[1].to(device), cosines.to(device)


def _curve(pen: ImageDraw.ImageDraw, side: int, lot: random.Random, *, width: int, opacity: int) -> None:
    start, bend, end = [(lot.uniform(-0.1, 1.1) * side, lot.uniform(-0.1, 1.1) * side) for _ in range(3)]
    points = []
    for step in range(25):
        t = step / 24
        points.append(
            tuple(
                (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c
                for a, b, c in zip(start, bend, end, strict=True)
            )
        )
    pen.line(points, fill=opacity, width=width, joint="curve")


def _ruler(pen: ImageDraw.ImageDraw, side: int, lot: random.Random) -> None:
    spacing, top = lot.randint(8, 30), lot.randint(0, side)
    for number in range(side // spacing):
        length = (2 if number % 5 == 0 else 1) * spacing // 2
        x = number * spacing
        pen.line([(x, top), (x, top + length)], fill=230, width=max(1, spacing // 10))
    if lot.random() < 0.5:
        pen.line([(0, top), (side, top)], fill=230, width=2)
