"""Normalise and augment pixels, for training and for serving.

Axes: B image of a batch, H row, W column, C colour (red, green, blue), P augmentation parameter.
"""

import math
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from models.normalization import MEAN, RGB, STD


def normalize(image_HWC: Tensor, mean: RGB = MEAN, std: RGB = STD) -> Tensor:
    """Normalise uint8 pixels and move their channels first.

    Args:
        image_HWC: uint8, (..., H, W, 3); any number of leading axes.

    Returns:
        image_CHW: float32, (..., 3, H, W), on the device of the input.
    """
    shift, scale = _shift_and_scale(mean, std, image_HWC.device)
    return ((image_HWC.float() - shift) / scale).movedim(-1, -3)


@cache
def _shift_and_scale(mean: RGB, std: RGB, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of 0..255 pixels, copied once: CUDA graphs allow no copy."""
    with torch.inference_mode(False):  # training uses them too
        return (torch.tensor(mean) * 255).to(device), (torch.tensor(std) * 255).to(device)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Strength of the augmentation of training photos."""

    min_scale: float = 0.75
    """Smallest side of the cropped square, as a fraction of the photo's side."""
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue_shift: float = 0.05
    """Largest relative change of each colour channel by itself."""
    sharpness: float = 0.5
    """Largest fraction of the high frequencies that is added (sharper) or removed (blurred)."""

    def __post_init__(self) -> None:
        if not 0 < self.min_scale <= 1:
            raise ValueError(f"min_scale is {self.min_scale}, must be above 0 and at most 1")


PARAMETER_SIZES = (6, 1, 1, 3, 1, 1)
"""Per photo: affine matrix, sharpness, brightness, hue, contrast, saturation."""


def sample_augmentation(num_images: int, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Sample the parameters of ``augment``: float32, (num_images, 13), on the CPU.

    Args:
        generator: CPU generator; equal states give equal parameters.
    """

    def amount(spread: float, num_channels: int = 1) -> Tensor:
        return spread * (2 * torch.rand(num_images, num_channels, generator=generator) - 1)

    return torch.cat(
        [
            _random_affine(num_images, augmentation, generator).flatten(1),
            amount(augmentation.sharpness),
            1 + amount(augmentation.brightness),
            1 + amount(augmentation.hue_shift, 3),
            1 + amount(augmentation.contrast),
            1 + amount(augmentation.saturation),
        ],
        dim=1,
    )


def augment(image_BHWC: Tensor, side_px: int, augmentation: Augmentation, parameters_BP: Tensor) -> Tensor:
    """Crop, rotate, mirror and recolour each photo of a batch, on its device.

    Args:
        image_BHWC: uint8, (B, H, H, 3), square.
        side_px: side of the returned squares.
        parameters_BP: of ``sample_augmentation`` with the same ``augmentation``, on the same device.

    Returns:
        image_BHWC: uint8, (B, side_px, side_px, 3), ready for ``normalize``.
    """
    affine, sharpness, brightness, hue, contrast, saturation = parameters_BP.split(PARAMETER_SIZES, dim=1)
    image_BCHW = image_BHWC.movedim(-1, 1).float()
    grid = F.affine_grid(
        affine.reshape(-1, 2, 3), [len(image_BHWC), 3, side_px, side_px], align_corners=False
    )
    reduced_px = math.ceil(side_px / augmentation.min_scale)
    if reduced_px < image_BCHW.shape[-1]:  # grid_sample alone would alias
        image_BCHW = F.interpolate(image_BCHW, size=(reduced_px, reduced_px), mode="bilinear", antialias=True)
    image_BCHW = F.grid_sample(
        image_BCHW, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    smooth_BCHW = F.avg_pool2d(F.pad(image_BCHW, (1, 1, 1, 1), mode="reflect"), 3, stride=1)
    image_BCHW = image_BCHW + sharpness[..., None, None] * (image_BCHW - smooth_BCHW)
    image_BCHW = image_BCHW * brightness[..., None, None] * hue[..., None, None]
    mean = image_BCHW.mean(dim=(1, 2, 3), keepdim=True)
    image_BCHW = mean + (image_BCHW - mean) * contrast[..., None, None]
    grey = image_BCHW.mean(dim=1, keepdim=True)
    image_BCHW = grey + (image_BCHW - grey) * saturation[..., None, None]
    return image_BCHW.clamp_(0, 255).round_().to(torch.uint8).movedim(1, -1)


def _random_affine(num_images: int, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Sample matrices (B, 2, 3): any rotation, mirrored with probability 0.5, a crop within the photo."""
    uniform = torch.rand(4, num_images, generator=generator)
    angle = uniform[0] * 2 * math.pi
    scale = augmentation.min_scale + (1 - augmentation.min_scale) * uniform[1]
    room = 1 - scale
    shift = torch.stack([(2 * uniform[2] - 1) * room, (2 * uniform[3] - 1) * room], dim=1)
    mirror = 1 - 2 * torch.randint(2, (num_images,), generator=generator)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    turn = torch.stack([torch.stack([cos * mirror, -sin], 1), torch.stack([sin * mirror, cos], 1)], 1)
    return torch.cat([turn, shift[..., None]], dim=2)
