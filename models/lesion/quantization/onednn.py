"""The trunk of the lesion network in 8 bits by oneDNN, which PyTorch brings: x86 processors with VNNI.

Twice as fast as ONNX Runtime's integer kernels there (``bench.engine``): the sum of a residual block
is computed in the registers of its last convolution, which is therefore not rounded before it.

Axes: B photo, H row, W column, C channel.
"""

import torch
from torch import Tensor

from models.checkpoint import CheckpointMeta
from models.lesion.quantization.int8 import (
    IMAGE,
    STEM,
    Convolution,
    Ranges,
    Scale,
    Weights,
    bottlenecks,
    convolution,
    first_convolution,
    image_range,
    pixel_mean,
)

PACKED_FOR = 8
"""Photos of a batch; kernels are laid out for it, and other batches fare nearly as well."""


def runs_here() -> bool:
    """Say whether this processor multiplies bytes without the overflow that older ones have."""
    return torch.backends.mkldnn.is_available() and torch.cpu._is_vnni_supported()


class IntegerTrunk:
    """Photos to the last feature map of one ``LesionNet``."""

    def __init__(self, weights: Weights, meta: CheckpointMeta, ranges: Ranges) -> None:
        scales = {name: Scale.of(values) for name, values in {**ranges, IMAGE: image_range(meta)}.items()}
        self._mean_C = torch.from_numpy(pixel_mean(meta))
        self._image, self._last = scales[IMAGE], scales[STEM]
        side = meta.input_px
        first = first_convolution(weights, "", meta)
        self._stem = _IntegerConvolution(first, scales[IMAGE], scales[STEM], side, stride=2, relu=True)
        side = _halved(_halved(side))  # the convolution and the maximum behind it
        self._blocks: list[_IntegerBottleneck] = []
        for block in bottlenecks(meta.input_px):
            parts = {
                name: convolution(weights, f"trunk.{block.name}.{conv}", f"trunk.{block.name}.{norm}")
                for name, conv, norm in _PARTS[: 4 if block.has_shortcut else 3]
            }
            own = {name: scales[f"{block.name}.{name}"] for name in parts}
            self._blocks.append(
                _IntegerBottleneck(parts, own, self._last, scales[block.name], side, block.stride)
            )
            self._last = scales[block.name]
            side = _halved(side) if block.stride == 2 else side

    def __call__(self, image_BHWC: Tensor) -> Tensor:
        """Return the last feature map, float32 (B, 2048, h, w), of uint8 photos."""
        centred = image_BHWC.float().sub_(self._mean_C).div_(self._image.step).round_().add_(self._image.zero)
        x = self._stem(centred.clamp_(0, 255).to(torch.uint8).movedim(-1, 1))
        x = torch.ops.quantized.max_pool2d(x, [3, 3], [2, 2], [1, 1], [1, 1], False)
        for block in self._blocks:
            x = block(x)
        return x.float().sub_(self._last.zero).mul_(self._last.step)


_PARTS = (
    ("conv1", "conv1", "bn1"),
    ("conv2", "conv2", "bn2"),
    ("conv3", "conv3", "bn3"),
    ("shortcut", "downsample.0", "downsample.1"),
)


class _IntegerBottleneck:
    def __init__(
        self,
        parts: dict[str, Convolution],
        scales: dict[str, Scale],
        before: Scale,
        after: Scale,
        side: int,
        stride: int,
    ) -> None:
        inner = _halved(side) if stride == 2 else side
        self._shortcut = None
        kept = before
        if "shortcut" in parts:
            kept = scales["shortcut"]
            self._shortcut = _IntegerConvolution(parts["shortcut"], before, kept, side, stride=stride)
        first, second = scales["conv1"], scales["conv2"]
        self._first = _IntegerConvolution(parts["conv1"], before, first, side, relu=True)
        self._second = _IntegerConvolution(parts["conv2"], first, second, side, stride=stride, relu=True)
        self._third = _IntegerConvolution(parts["conv3"], second, after, inner)
        self._kept = kept

    def __call__(self, x: Tensor) -> Tensor:
        kept = x if self._shortcut is None else self._shortcut(x)
        return self._third.onto(kept, self._kept, self._second(self._first(x)))


class _IntegerConvolution:
    def __init__(
        self,
        how: Convolution,
        before: Scale,
        after: Scale,
        side: int,
        *,
        stride: int = 1,
        relu: bool = False,
    ) -> None:
        whole_OCHW, step_O = how.rounded(before.step)
        self._unary = "relu" if relu else "none"
        self._before, self._after = before, after
        self._step_O = torch.from_numpy(step_O)
        self._geometry = ([stride, stride], [how.padding, how.padding], [1, 1], 1)
        shape = [PACKED_FOR, whole_OCHW.shape[1], side, side]
        self._kernel = torch.ops.onednn.qconv_prepack(
            torch.from_numpy(whole_OCHW), self._step_O, before.step, before.zero, *self._geometry, shape
        )
        self._zero_O = torch.zeros(len(step_O), dtype=torch.int32)
        self._bias_O = torch.from_numpy(how.bias_O)

    def __call__(self, x: Tensor) -> Tensor:
        return torch.ops.onednn.qconv2d_pointwise(
            *self._inputs(x), self._bias_O, *self._geometry, *self._output, self._unary, [], ""
        )

    def onto(self, kept: Tensor, kept_scale: Scale, x: Tensor) -> Tensor:
        """Add the result to ``kept``, whose memory it takes, and cut off what is below zero."""
        sum_scale = (kept_scale.step, kept_scale.zero)
        return torch.ops.onednn.qconv2d_pointwise.binary(
            *self._inputs(x),
            kept,
            self._bias_O,
            *self._geometry,
            *self._output,
            *sum_scale,
            "sum",
            1.0,
            "relu",
            [],
            "",
        )

    def _inputs(self, x: Tensor) -> tuple[Tensor, float, int, Tensor, Tensor, Tensor]:
        return x, self._before.step, self._before.zero, self._kernel, self._step_O, self._zero_O

    @property
    def _output(self) -> tuple[float, int, torch.dtype]:
        return self._after.step, self._after.zero, torch.uint8


def _halved(side: int) -> int:
    return (side + 1) // 2
