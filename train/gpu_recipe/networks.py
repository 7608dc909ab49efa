"""The localizer.

Axes: B photo, C channel, H row, W column, G gate question.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GATE_QUESTIONS = ("skin", "lesion")


class LocalizerLogits(NamedTuple):
    """Outputs of the localizer, before the sigmoid."""

    lesion_BHW: Tensor
    """At half of the input's resolution."""
    gate_BG: Tensor
    """Whether the image shows skin, and whether it shows a lesion."""


class LesionLocalizer(nn.Module):
    """A small U-Net (Ronneberger et al. 2015, arXiv:1505.04597) with a head for the whole image.

    Args:
        channels: of each scale, from a half of the input's side down to a sixteenth.
    """

    def __init__(self, channels: tuple[int, int, int, int] = (20, 40, 80, 128)) -> None:
        super().__init__()
        self.stem = _conv(3, channels[0], stride=2)
        self.down = nn.ModuleList([_conv(channels[0], channels[0])])
        for before, after in pairwise(channels):
            self.down.append(nn.Sequential(_conv(before, after, stride=2), _conv(after, after)))
        self.bottom = _conv(channels[-1], channels[-1], dilation=2)
        self.reduce = nn.ModuleList()
        self.up = nn.ModuleList()
        for above, below in pairwise(channels):
            self.reduce.append(nn.Conv2d(below, above, 1))
            self.up.append(_conv(above, above))
        self.lesion = nn.Conv2d(channels[0], 1, 1)
        self.gate = nn.Linear(2 * channels[-1], len(GATE_QUESTIONS))

    def forward(self, image_BCHW: Tensor) -> LocalizerLogits:
        """Localize on normalised images, (B, 3, H, W), sides divisible by 16."""
        x = self.stem(image_BCHW)
        skips: list[Tensor] = []
        for scale in self.down:
            x = scale(x)
            skips.append(x)
        x = self.bottom(x)
        gate_BG = self.gate(torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1))
        for number in reversed(range(len(self.up))):
            x = F.interpolate(self.reduce[number](x), scale_factor=2, mode="nearest")
            x = self.up[number](x + skips[number])
        return LocalizerLogits(self.lesion(x)[:, 0], gate_BG)


def _conv(before: int, after: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, dilation, dilation, bias=False), nn.BatchNorm2d(after), nn.ReLU()
    )
