"""Read windows of many photos at once, at any position, scale and angle, on their device.

Axes: B photo, C colour, H row, W column. Lengths are pixels of a photo on its canvas.
"""

import math
import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from train.gpu_recipe.photos import CANVAS_HW, MASK_STRIDE, PhotoSet


class Draw:
    """Random numbers drawn on one device, without a copy from or to it."""

    def __init__(self, device: torch.device, seed: int) -> None:
        self.device = device
        self.host = random.Random(seed)
        self._generator = torch.Generator(device).manual_seed(seed)

    def uniform(self, low: float, high: float, *size: int) -> Tensor:
        """Draw from ``low`` to ``high``."""
        return low + (high - low) * torch.rand(size, generator=self._generator, device=self.device)

    def log_uniform(self, low: float, high: float, *size: int) -> Tensor:
        """Draw factors from the log-uniform distribution."""
        return self.uniform(math.log(low), math.log(high), *size).exp()

    def normal(self, *size: int) -> Tensor:
        """Draw from the standard normal distribution."""
        return torch.randn(size, generator=self._generator, device=self.device)

    def chance(self, share: float, *size: int) -> Tensor:
        """Draw True with probability ``share``."""
        return self.uniform(0, 1, *size) < share

    def integers(self, below: int, *size: int) -> Tensor:
        """Draw int64 from 0 to ``below - 1``."""
        return torch.randint(below, size, generator=self._generator, device=self.device)

    def weighted(self, weight_N: Tensor, count: int) -> Tensor:
        """Draw ``count`` indices with probabilities proportional to ``weight_N``, with replacement."""
        return torch.multinomial(weight_N, count, replacement=True, generator=self._generator)


@dataclass(frozen=True, kw_only=True)
class Window:
    """A rectangle on each photo of a batch; it may reach beyond the photo."""

    centre_B2: Tensor
    """Row and column."""
    half_B2: Tensor
    """Half of its height and width."""
    angle_B: Tensor
    """Radians."""
    mirror_B: Tensor
    """1 or -1."""

    @classmethod
    def upright(cls, centre_B2: Tensor, half_B2: Tensor) -> "Window":
        """Return windows without rotation or mirroring."""
        zero_B = torch.zeros(len(centre_B2), device=centre_B2.device)
        return cls(centre_B2=centre_B2, half_B2=half_B2, angle_B=zero_B, mirror_B=zero_B + 1)

    @classmethod
    def turned(cls, centre_B2: Tensor, half_B2: Tensor, draw: Draw) -> "Window":
        """Return windows at random angles; mirror every other one."""
        count = len(centre_B2)
        return cls(
            centre_B2=centre_B2,
            half_B2=half_B2,
            angle_B=draw.uniform(0, 2 * math.pi, count),
            mirror_B=2.0 * draw.integers(2, count) - 1,
        )

    def points(self, side_px: int) -> tuple[Tensor, Tensor]:
        """Return the photo's rows and columns for each pixel of a square output, (B, H, W) each."""
        step = (torch.arange(side_px, device=self.angle_B.device) + 0.5) * (2 / side_px) - 1
        down = step[None, :, None] * self.half_B2[:, 0, None, None]
        right = step[None, None, :] * (self.half_B2[:, 1] * self.mirror_B)[:, None, None]
        cos, sin = self.angle_B.cos()[:, None, None], self.angle_B.sin()[:, None, None]
        return (
            self.centre_B2[:, 0, None, None] + cos * down + sin * right,
            self.centre_B2[:, 1, None, None] - sin * down + cos * right,
        )


def central_square(size_B2: Tensor) -> Window:
    """Return the largest central square of each photo."""
    return Window.upright(size_B2 / 2, (size_B2.amin(1, keepdim=True) / 2).expand(-1, 2))


def whole_frame(size_B2: Tensor) -> Window:
    """Return the whole of each photo; a square output changes its aspect ratio."""
    return Window.upright(size_B2 / 2, size_B2 / 2)


def read_window(photos: PhotoSet, place_B: Tensor, window: Window, side_px: int) -> tuple[Tensor, Tensor]:
    """Read windows of photos, two samples a pixel in each direction, mirrored beyond the edge.

    Returns:
        image_BCHW: float32, 0 to 1.
        depth_BHW: distance of each output pixel from the photo's nearest edge in pixels of the photo;
            negative outside.
    """
    size_B2 = photos.size_N2[place_B]
    row_BHW, column_BHW = window.points(2 * side_px)
    image_BCHW = photos.image_NCHW[place_B].float()
    read_BCHW = _read(image_BCHW, row_BHW, column_BHW, size_B2, 1)
    return F.avg_pool2d(read_BCHW, 2) / 255, _depth(window, side_px, size_B2)


def read_mask(photos: PhotoSet, place_B: Tensor, window: Window, side_px: int) -> Tensor:
    """Read the same windows of the masks, 0 to 1, (B, H, W); 0 beyond the edge."""
    size_B2 = photos.size_N2[place_B]
    row_BHW, column_BHW = window.points(2 * side_px)
    mask_B1HW = photos.mask_NHW[place_B][:, None].float()
    read_B1HW = F.avg_pool2d(_read(mask_B1HW, row_BHW, column_BHW, size_B2, MASK_STRIDE), 2) / 255
    return read_B1HW[:, 0] * (_depth(window, side_px, size_B2) > 0)


def read_mirrored_mask(photos: PhotoSet, place_B: Tensor, window: Window, side_px: int) -> Tensor:
    """Read the masks, (B, H, W), mirrored beyond the edge as in ``read_window``."""
    row_BHW, column_BHW = window.points(2 * side_px)
    mask_B1HW = photos.mask_NHW[place_B][:, None].float()
    read_B1HW = _read(mask_B1HW, row_BHW, column_BHW, photos.size_N2[place_B], MASK_STRIDE)
    return F.avg_pool2d(read_B1HW, 2)[:, 0] / 255


def skin_background(photos: PhotoSet, draw: Draw, count: int, side_px: int) -> Tensor:
    """Make images of bare skin: mirrored tiles of squares beside lesions, and some noise."""
    patch_B4 = photos.patch_P4[draw.integers(len(photos.patch_P4), count)]
    place_B, corner_B2, side_B = patch_B4[:, 0], patch_B4[:, 1:3].float(), patch_B4[:, 3:].float()
    half_B1 = side_B * draw.log_uniform(0.35, 1.6, count, 1)
    window = Window.turned(side_B * draw.uniform(0, 1, count, 2), half_B1.expand(-1, 2), draw)
    row_BHW, column_BHW = window.points(side_px)
    row_BHW = _mirrored(row_BHW, side_B[:, :, None]) + corner_B2[:, 0, None, None]
    column_BHW = _mirrored(column_BHW, side_B[:, :, None]) + corner_B2[:, 1, None, None]
    image_BCHW = photos.image_NCHW[place_B].float()
    skin_BCHW = _read(image_BCHW, row_BHW, column_BHW, photos.size_N2[place_B], 1) / 255
    noise_BCHW = photos.border_NC[place_B][:, :, None, None] * (
        1 + 0.08 * smooth_noise(draw, count, side_px, 24) * draw.uniform(0, 1, count, 1, 1, 1)
    )
    skin_BCHW = torch.where(draw.chance(0.15, count, 1, 1, 1), noise_BCHW, skin_BCHW)
    shade_B1HW = 1 + 0.15 * smooth_noise(draw, count, side_px, 3) * draw.uniform(0, 1, count, 1, 1, 1)
    return (skin_BCHW * shade_B1HW).clamp(0, 1)


def smooth_noise(draw: Draw, count: int, side_px: int, num_cells: int) -> Tensor:
    """Draw noise with a period of ``1 / num_cells`` of the side, (count, 1, side_px, side_px)."""
    coarse = draw.normal(count, 1, num_cells, num_cells)
    return F.interpolate(coarse, size=(side_px, side_px), mode="bicubic", align_corners=False)


def recoloured(image_BCHW: Tensor, colour_BC: Tensor) -> Tensor:
    """Scale the images to another mean colour, by factors of 0.3 to 3."""
    factor_BC = (colour_BC / image_BCHW.mean((2, 3)).clamp_min(0.02)).clamp(0.3, 3)
    return (image_BCHW * factor_BC[:, :, None, None]).clamp(0, 1)


def _depth(window: Window, side_px: int, size_B2: Tensor) -> Tensor:
    row_BHW, column_BHW = window.points(side_px)
    height, width = size_B2[:, 0, None, None], size_B2[:, 1, None, None]
    return torch.minimum(
        torch.minimum(row_BHW, height - row_BHW), torch.minimum(column_BHW, width - column_BHW)
    )


def _read(image_BCHW: Tensor, row_BHW: Tensor, column_BHW: Tensor, size_B2: Tensor, stride: int) -> Tensor:
    """Interpolate between pixels of the canvas; mirror points outside a photo."""
    height, width = CANVAS_HW
    margin = 0.5 * stride
    rows = _mirrored(row_BHW, size_B2[:, 0, None, None])
    columns = _mirrored(column_BHW, size_B2[:, 1, None, None])
    rows = rows.clamp_min(margin).minimum(size_B2[:, 0, None, None] - 2 * margin)
    columns = columns.clamp_min(margin).minimum(size_B2[:, 1, None, None] - 2 * margin)
    grid = torch.stack([columns * (2 / width) - 1, rows * (2 / height) - 1], dim=3)
    return F.grid_sample(image_BCHW, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _mirrored(point: Tensor, length: Tensor) -> Tensor:
    """Mirror points outside 0 to ``length`` back inside."""
    return length - (point.remainder(2 * length) - length).abs()
