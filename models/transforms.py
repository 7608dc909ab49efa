"""Pixels to network input, for training and for serving; the only mean and standard deviation.

Axes: B image of a batch, T photo of a series, H row, W column, C colour (red, green, blue).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

RGB = tuple[float, float, float]

MEAN: RGB = (0.485, 0.456, 0.406)
STD: RGB = (0.229, 0.224, 0.225)
"""Of pixels scaled to 0..1, over ImageNet, as torchvision's weights expect. A checkpoint stores its own."""


def normalize(image_HWC: Tensor, mean: RGB = MEAN, std: RGB = STD) -> Tensor:
    """Turn uint8 pixels, channels last, into what a network reads.

    Args:
        image_HWC: uint8, (..., H, W, 3); any number of leading axes.

    Returns:
        image_CHW: float32, (..., 3, H, W), on the device of the input.
    """
    scale = torch.tensor(std, device=image_HWC.device) * 255
    shift = torch.tensor(mean, device=image_HWC.device) * 255
    return ((image_HWC.float() - shift) / scale).movedim(-1, -3)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far a training photo may be changed; the diagnosis of a lesion survives all of it."""

    min_scale: float = 0.75
    """Shortest side of the cut-out square, as a fraction of the photo's."""
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue_shift: float = 0.05
    """Largest change of each colour channel alone, as a fraction."""
    sharpness: float = 0.5
    """Largest share of a photo's fine detail that is added (sharper) or taken away (blurred)."""

    def __post_init__(self) -> None:
        if not 0 < self.min_scale <= 1:
            raise ValueError(f"min_scale is {self.min_scale}, must be above 0 and at most 1")


def augment(image_BHWC: Tensor, side_px: int, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Cut, turn, mirror and recolour a batch, each photo in its own way, on the device that holds it.

    Args:
        image_BHWC: uint8, (B, H, H, 3), square.
        side_px: side of the squares to return.
        generator: CPU generator; equal states give equal pictures.

    Returns:
        image_BHWC: uint8, (B, side_px, side_px, 3), ready for ``normalize``.
    """
    image_BCHW = image_BHWC.movedim(-1, 1).float()
    grid = F.affine_grid(
        _random_affine(len(image_BHWC), how, generator).to(image_BCHW.device),
        [len(image_BHWC), 3, side_px, side_px],
        align_corners=False,
    )
    enough_px = math.ceil(side_px / how.min_scale)
    if enough_px < image_BCHW.shape[-1]:  # grid_sample alone would alias
        image_BCHW = F.interpolate(image_BCHW, size=(enough_px, enough_px), mode="bilinear", antialias=True)
    image_BCHW = F.grid_sample(
        image_BCHW, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    image_BCHW = _sharpen(image_BCHW, how, generator)
    return _recolour(image_BCHW, how, generator).clamp_(0, 255).round_().to(torch.uint8).movedim(1, -1)


def _random_affine(num_images: int, how: Augmentation, generator: torch.Generator) -> Tensor:
    """(B, 2, 3): any turn, a mirror image every other time, a square cut-out that stays near the photo."""
    uniform = torch.rand(4, num_images, generator=generator)
    angle = uniform[0] * 2 * math.pi
    scale = how.min_scale + (1 - how.min_scale) * uniform[1]
    room = 1 - scale
    shift = torch.stack([(2 * uniform[2] - 1) * room, (2 * uniform[3] - 1) * room], dim=1)
    mirror = 1 - 2 * torch.randint(2, (num_images,), generator=generator)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    turn = torch.stack([torch.stack([cos * mirror, -sin], 1), torch.stack([sin * mirror, cos], 1)], 1)
    return torch.cat([turn, shift[..., None]], dim=2)


def _sharpen(image_BCHW: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    amount_B111 = how.sharpness * (2 * torch.rand(len(image_BCHW), 1, 1, 1, generator=generator) - 1)
    smooth_BCHW = F.avg_pool2d(F.pad(image_BCHW, (1, 1, 1, 1), mode="reflect"), 3, stride=1)
    return image_BCHW + amount_B111.to(image_BCHW.device) * (image_BCHW - smooth_BCHW)


def _recolour(image_BCHW: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    def factor(spread: float, *shape: int) -> Tensor:
        return (1 + spread * (2 * torch.rand(*shape, generator=generator) - 1)).to(image_BCHW.device)

    num_images = len(image_BCHW)
    image_BCHW = (
        image_BCHW * factor(how.brightness, num_images, 1, 1, 1) * factor(how.hue_shift, num_images, 3, 1, 1)
    )
    mean = image_BCHW.mean(dim=(1, 2, 3), keepdim=True)
    image_BCHW = mean + (image_BCHW - mean) * factor(how.contrast, num_images, 1, 1, 1)
    grey = image_BCHW.mean(dim=1, keepdim=True)
    return grey + (image_BCHW - grey) * factor(how.saturation, num_images, 1, 1, 1)
