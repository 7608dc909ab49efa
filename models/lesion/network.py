"""The lesion network: a ResNet50 backbone with heads for risk, diagnosis and scope; or an ensemble of them.

Axes: B image, C channel, H row, W column, K diagnosis, R risk group (benign, malignant).
"""

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import resnet50

from models.diagnoses import GROUPS
from models.lesion.shapes import FINE_STRIDE_BELOW_PX, PREFIX, STORED_PREFIX

BACKBONE_CHANNELS = 2048


class LesionLogits(NamedTuple):
    """Outputs of the heads, before softmax or sigmoid."""

    risk_BR: Tensor
    diagnosis_BK: Tensor
    scope_B: Tensor | None = None
    """Of the photo showing a lesion that the network can classify; None without a scope head."""


class LesionNet(nn.Module):
    """ResNet50 (He et al. 2016, arXiv:1512.03385; torchvision's v1.5) with two or three heads.

    Args:
        num_diagnoses: columns of the diagnosis head.
        input_px: side of the square input; decides the stride of the last stage.
        dropout: in the risk head and the diagnosis head, in training.
        scope_head: add a linear head, whether the photo shows a lesion that the network can classify.
    """

    def __init__(
        self, *, num_diagnoses: int, input_px: int, dropout: float = 0.3, scope_head: bool = False
    ) -> None:
        super().__init__()
        self.input_px = input_px
        self.backbone = resnet50(weights=None, zero_init_residual=True)
        self.backbone.fc = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
        if input_px < FINE_STRIDE_BELOW_PX:
            for layer in self.backbone.layer4.modules():
                if isinstance(layer, nn.Conv2d):
                    layer.stride = (1, 1)
        self.risk_head = _head(len(GROUPS), dropout)
        self.diagnosis_head = _head(num_diagnoses, dropout)
        self.scope_head = nn.Linear(BACKBONE_CHANNELS, 1) if scope_head else None
        self.register_state_dict_post_hook(_rename_to_stored)
        self.register_load_state_dict_pre_hook(_rename_from_stored)

    def forward(self, image_BCHW: Tensor) -> LesionLogits:
        """Classify normalised images, (B, 3, H, W)."""
        return self.classify(self.features(image_BCHW))

    def features(self, image_BCHW: Tensor) -> Tensor:
        """Return the last feature map, (B, 2048, h, w)."""
        net = self.backbone
        x = net.maxpool(net.relu(net.bn1(net.conv1(image_BCHW))))
        return net.layer4(net.layer3(net.layer2(net.layer1(x))))

    def classify(self, features_BCHW: Tensor) -> LesionLogits:
        """Pool the last feature map and run the heads."""
        pooled_BC = features_BCHW.mean(dim=(2, 3))
        scope_B = None if self.scope_head is None else self.scope_head(pooled_BC)[:, 0]
        return LesionLogits(self.risk_head(pooled_BC), self.diagnosis_head(pooled_BC), scope_B)

    def risk_grad_cam(self, features_CHW: Tensor) -> Tensor:
        """Return the Grad-CAM map of each risk group for one last feature map, (R, h, w)."""
        return torch.stack([grad_cam(self.risk_head, features_CHW, column) for column in range(len(GROUPS))])


class LesionEnsemble(nn.Module):
    """Average the logits of lesion networks of equal shape.

    It has the methods of ``LesionNet``. The members' feature maps are concatenated along the channels.

    Args:
        num_members: number of networks.
        num_diagnoses: as for ``LesionNet``, like the other arguments.
    """

    def __init__(
        self,
        *,
        num_members: int,
        num_diagnoses: int,
        input_px: int,
        dropout: float = 0.3,
        scope_head: bool = False,
    ) -> None:
        super().__init__()
        if num_members < 1:
            raise ValueError(f"num_members is {num_members}, must be at least 1")
        self.members = nn.ModuleList(
            LesionNet(num_diagnoses=num_diagnoses, input_px=input_px, dropout=dropout, scope_head=scope_head)
            for _ in range(num_members)
        )

    def forward(self, image_BCHW: Tensor) -> LesionLogits:
        """Classify normalised images, (B, 3, H, W)."""
        return self.classify(self.features(image_BCHW))

    def features(self, image_BCHW: Tensor) -> Tensor:
        """Return the last feature maps of all members, (B, num_members x 2048, h, w)."""
        return torch.cat([member.features(image_BCHW) for member in self.nets], dim=1)

    def classify(self, features_BCHW: Tensor) -> LesionLogits:
        """Run the heads of every member on its own channels, and average the logits."""
        parts = features_BCHW.chunk(len(self.members), dim=1)
        logits = [member.classify(part) for member, part in zip(self.nets, parts, strict=True)]
        scopes = [one.scope_B for one in logits if one.scope_B is not None]
        return LesionLogits(
            torch.stack([one.risk_BR for one in logits]).mean(0),
            torch.stack([one.diagnosis_BK for one in logits]).mean(0),
            torch.stack(scopes).mean(0) if scopes else None,
        )

    def risk_grad_cam(self, features_CHW: Tensor) -> Tensor:
        """Return the members' mean Grad-CAM maps, (R, h, w), each scaled to maximum 1."""
        parts = features_CHW.chunk(len(self.members))
        maps = [member.risk_grad_cam(part) for member, part in zip(self.nets, parts, strict=True)]
        map_RHW = torch.stack(maps).mean(0)
        return map_RHW / map_RHW.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12)

    @property
    def nets(self) -> list[LesionNet]:
        """The members."""
        return [member for member in self.members if isinstance(member, LesionNet)]


def fold_batch_norm(backbone: nn.Module) -> None:
    """Fold every batch norm of a trained backbone into the convolution before it."""
    for part in list(backbone.modules()):
        pairs = [(f"conv{number}", f"bn{number}") for number in (1, 2, 3)]
        if isinstance(part, nn.Sequential):
            pairs = list(pairwise(name for name, _ in part.named_children()))
        for conv_name, norm_name in pairs:
            conv, norm = getattr(part, conv_name, None), getattr(part, norm_name, None)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(part, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(part, norm_name, nn.Identity())


def grad_cam(head: nn.Sequential, features_CHW: Tensor, column: int) -> Tensor:
    """Compute the Grad-CAM map of one column of a head, in closed form.

    The derivative of a logit by a pooled channel follows from the two layers of the head. It needs the
    feature map and the float weights, and no autograd.

    Returns:
        map_HW: float32, 0 to 1, of the size of the feature map; zero without evidence for the column.

    Source: Selvaraju et al. 2017, arXiv:1610.02391.
    """
    first, last = head[0], head[-1]
    assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
    with torch.no_grad():
        active = first(features_CHW.mean(dim=(1, 2))) > 0
        slope_C = (last.weight[column] * active) @ first.weight
        map_HW = torch.einsum("c,chw->hw", slope_C, features_CHW).clamp_min(0)
        return map_HW / map_HW.max().clamp_min(1e-12)


def _rename_to_stored(net: nn.Module, state: dict[str, Any], prefix: str, metadata: object) -> None:
    for name in [name for name in state if name.startswith(prefix + PREFIX)]:
        state[prefix + STORED_PREFIX + name.removeprefix(prefix + PREFIX)] = state.pop(name)


def _rename_from_stored(net: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    for name in [name for name in state if name.startswith(prefix + STORED_PREFIX)]:
        state[prefix + PREFIX + name.removeprefix(prefix + STORED_PREFIX)] = state.pop(name)


def _head(num_outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(BACKBONE_CHANNELS, 512), nn.ReLU(), nn.Dropout(dropout), nn.Linear(512, num_outputs)
    )
