"""The lesion network: one ResNet50 trunk, a head for the risk, a head for the diagnosis; or several such.

Axes: B image, C channel, H row, W column, K diagnosis, R risk group (benign, malignant).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import resnet50
from torchvision.models.resnet import Bottleneck

from models.diagnoses import GROUPS

TRUNK_CHANNELS = 2048
FINE_STRIDE_BELOW_PX = 160
"""Inputs under this side keep stride 1 in the last stage, or the last map has only 2 to 5 cells a side."""


class LesionLogits(NamedTuple):
    """What both heads say, before softmax."""

    risk_BR: Tensor
    diagnosis_BK: Tensor


class LesionNet(nn.Module):
    """ResNet50 (He et al. 2016, arXiv:1512.03385; torchvision's v1.5) with two heads.

    Args:
        num_diagnoses: columns of the diagnosis head.
        input_px: side of the square input; decides the stride of the last stage.
        dropout: in both heads, while training.
    """

    def __init__(self, *, num_diagnoses: int, input_px: int, dropout: float = 0.3) -> None:
        super().__init__()
        self.input_px = input_px
        self.trunk = resnet50(weights=None, zero_init_residual=True)
        self.trunk.fc = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
        if input_px < FINE_STRIDE_BELOW_PX:
            for layer in self.trunk.layer4.modules():
                if isinstance(layer, nn.Conv2d):
                    layer.stride = (1, 1)
        self.risk_head = _head(len(GROUPS), dropout)
        self.diagnosis_head = _head(num_diagnoses, dropout)

    def forward(self, image_BCHW: Tensor) -> LesionLogits:
        """Classify normalised images, (B, 3, H, W)."""
        return self.classify(self.features(image_BCHW))

    def features(self, image_BCHW: Tensor) -> Tensor:
        """Return the last feature map, (B, 2048, h, w)."""
        trunk = self.trunk
        x = trunk.maxpool(trunk.relu(trunk.bn1(trunk.conv1(image_BCHW))))
        return trunk.layer4(trunk.layer3(trunk.layer2(trunk.layer1(x))))

    def classify(self, features_BCHW: Tensor) -> LesionLogits:
        """Pool the last feature map and ask both heads."""
        pooled_BC = features_BCHW.mean(dim=(2, 3))
        return LesionLogits(self.risk_head(pooled_BC), self.diagnosis_head(pooled_BC))

    def risk_maps(self, features_CHW: Tensor) -> Tensor:
        """Return the Grad-CAM map of each risk group for one last feature map, (R, h, w)."""
        return torch.stack([grad_cam(self.risk_head, features_CHW, column) for column in range(len(GROUPS))])


class LesionEnsemble(nn.Module):
    """Lesion networks of equal shape that answer as one: the mean of their logits.

    It offers what ``LesionNet`` offers; its members' feature maps lie one after the other in the channels.

    Args:
        num_members: how many networks.
        num_diagnoses: columns of the diagnosis head; this and the rest as for ``LesionNet``.
    """

    def __init__(self, *, num_members: int, num_diagnoses: int, input_px: int, dropout: float = 0.3) -> None:
        super().__init__()
        if num_members < 1:
            raise ValueError(f"num_members is {num_members}, must be at least 1")
        self.members = nn.ModuleList(
            LesionNet(num_diagnoses=num_diagnoses, input_px=input_px, dropout=dropout)
            for _ in range(num_members)
        )

    def forward(self, image_BCHW: Tensor) -> LesionLogits:
        """Classify normalised images, (B, 3, H, W)."""
        return self.classify(self.features(image_BCHW))

    def features(self, image_BCHW: Tensor) -> Tensor:
        """Return the last feature maps of all members, (B, num_members x 2048, h, w)."""
        return torch.cat([member.features(image_BCHW) for member in self.nets], dim=1)

    def classify(self, features_BCHW: Tensor) -> LesionLogits:
        """Ask every member about its own part of the feature map, and take the mean."""
        parts = features_BCHW.chunk(len(self.members), dim=1)
        logits = [member.classify(part) for member, part in zip(self.nets, parts, strict=True)]
        return LesionLogits(
            torch.stack([one.risk_BR for one in logits]).mean(0),
            torch.stack([one.diagnosis_BK for one in logits]).mean(0),
        )

    def risk_maps(self, features_CHW: Tensor) -> Tensor:
        """Return the mean of the members' maps, (R, h, w), each scaled to a maximum of 1 again."""
        parts = features_CHW.chunk(len(self.members))
        maps = [member.risk_maps(part) for member, part in zip(self.nets, parts, strict=True)]
        heat_RHW = torch.stack(maps).mean(0)
        return heat_RHW / heat_RHW.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12)

    @property
    def nets(self) -> list[LesionNet]:
        """The members."""
        return [member for member in self.members if isinstance(member, LesionNet)]


def fold_batch_norm(trunk: nn.Module) -> None:
    """Put every batch norm of a trained ResNet into the convolution before it."""
    for part in [trunk, *(part for part in trunk.modules() if isinstance(part, Bottleneck))]:
        for number in (1, 2, 3):
            conv, norm = getattr(part, f"conv{number}", None), getattr(part, f"bn{number}", None)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(part, f"conv{number}", fuse_conv_bn_eval(conv, norm))
                setattr(part, f"bn{number}", nn.Identity())
        around = getattr(part, "downsample", None)
        if isinstance(around, nn.Sequential):
            conv, norm = around
            assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
            part.downsample = fuse_conv_bn_eval(conv, norm)


def grad_cam(head: nn.Sequential, features_CHW: Tensor, column: int) -> Tensor:
    """Show where the evidence for one column of a head lies.

    The derivative of a logit by a pooled channel follows in closed form from the two layers of the head:
    this needs the feature map and the float weights, and no autograd.

    Returns:
        heat_HW: float32, 0 to 1, as fine as the feature map; zero if nothing speaks for the column.

    Source: Selvaraju et al. 2017, arXiv:1610.02391.
    """
    first, last = head[0], head[-1]
    assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
    with torch.no_grad():
        active = first(features_CHW.mean(dim=(1, 2))) > 0
        slope_C = (last.weight[column] * active) @ first.weight
        heat_HW = torch.einsum("c,chw->hw", slope_C, features_CHW).clamp_min(0)
        return heat_HW / heat_HW.max().clamp_min(1e-12)


def _head(num_outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(TRUNK_CHANNELS, 512), nn.ReLU(), nn.Dropout(dropout), nn.Linear(512, num_outputs)
    )
