"""The int8 backbone of the lesion network through oneDNN, which PyTorch includes; needs AVX-512 VNNI.

It calls ``torch.ops.onednn`` and ``torch.cpu._is_vnni_supported``, which Inductor uses and PyTorch does not
document. Tested with torch 2.14; the tests compare the result with float32.

The last convolution of a block adds the shortcut before its result is quantized, which makes it twice as
fast as ONNX Runtime (docs/decisions/0009-int8-with-onednn.md).

Axes: B photo, H row, W column, C channel, O output channel.
"""

import torch
from torch import Tensor

from models.checkpoint import CheckpointMeta
from models.lesion.quantization.int8 import (
    IMAGE,
    STEM,
    CalibrationRanges,
    Convolution,
    QuantizationParams,
    Weights,
    bottlenecks,
    fold_convolution,
    fold_first_convolution,
    pixel_mean,
    pixel_range,
)

PREPACK_BATCH_SIZE = 8
"""Kernels are laid out for this batch size; other sizes are nearly as fast."""


class Int8Backbone:
    """Compute the last feature map of one ``LesionNet`` in int8."""

    def __init__(self, weights: Weights, meta: CheckpointMeta, ranges: CalibrationRanges) -> None:
        params = {
            name: QuantizationParams.from_range(values)
            for name, values in {**ranges, IMAGE: pixel_range(meta)}.items()
        }
        self._mean_C = torch.from_numpy(pixel_mean(meta))
        self._image, self._output = params[IMAGE], params[STEM]
        side = meta.input_px
        first = fold_first_convolution(weights, "", meta)
        self._stem = Int8Convolution(first, params[IMAGE], params[STEM], side, stride=2, relu=True)
        side = halved(halved(side))  # the convolution and max pooling
        self._blocks: list[_Int8Bottleneck] = []
        for block in bottlenecks(meta.input_px):
            name = f"backbone.{block.name}"
            convolutions = {
                part: fold_convolution(weights, f"{name}.{conv}", f"{name}.{norm}")
                for part, conv, norm in _PARTS[: 4 if block.has_shortcut else 3]
            }
            block_params = {part: params[f"{block.name}.{part}"] for part in convolutions}
            self._blocks.append(
                _Int8Bottleneck(
                    convolutions, block_params, self._output, params[block.name], side, block.stride
                )
            )
            self._output = params[block.name]
            side = halved(side) if block.stride == 2 else side

    def __call__(self, image_BHWC: Tensor) -> Tensor:
        """Return the last feature map, float32 (B, 2048, h, w), of uint8 photos."""
        image, output = self._image, self._output
        x = self._stem(quantized_pixels(image_BHWC, self._mean_C, image))
        x = torch.ops.quantized.max_pool2d(x, [3, 3], [2, 2], [1, 1], [1, 1], False)
        for block in self._blocks:
            x = block(x)
        return x.float().sub_(output.zero_point).mul_(output.scale)


def quantized_pixels(image_BHWC: Tensor, mean_C: Tensor, params: QuantizationParams) -> Tensor:
    """Return photos minus their mean, quantized, uint8 (B, 3, H, W), channels last in memory."""
    centred_BHWC = image_BHWC.float().sub_(mean_C).div_(params.scale).round_().add_(params.zero_point)
    return centred_BHWC.clamp_(0, 255).to(torch.uint8).movedim(-1, 1)


_PARTS = (
    ("conv1", "conv1", "bn1"),
    ("conv2", "conv2", "bn2"),
    ("conv3", "conv3", "bn3"),
    ("shortcut", "downsample.0", "downsample.1"),
)


class _Int8Bottleneck:
    def __init__(
        self,
        convolutions: dict[str, Convolution],
        params: dict[str, QuantizationParams],
        input_params: QuantizationParams,
        output_params: QuantizationParams,
        side: int,
        stride: int,
    ) -> None:
        inner_side = halved(side) if stride == 2 else side
        self._shortcut = None
        self._shortcut_params = input_params
        if "shortcut" in convolutions:
            self._shortcut_params = params["shortcut"]
            self._shortcut = Int8Convolution(
                convolutions["shortcut"], input_params, self._shortcut_params, side, stride=stride
            )
        first, second = params["conv1"], params["conv2"]
        self._conv1 = Int8Convolution(convolutions["conv1"], input_params, first, side, relu=True)
        self._conv2 = Int8Convolution(convolutions["conv2"], first, second, side, stride=stride, relu=True)
        self._conv3 = Int8Convolution(convolutions["conv3"], second, output_params, inner_side)

    def __call__(self, x: Tensor) -> Tensor:
        shortcut = x if self._shortcut is None else self._shortcut(x)
        return self._conv3.add_to(shortcut, self._shortcut_params, self._conv2(self._conv1(x)))


class Int8Convolution:
    """Compute one convolution with uint8 input and output."""

    def __init__(
        self,
        convolution: Convolution,
        input_params: QuantizationParams,
        output_params: QuantizationParams,
        side: int,
        *,
        stride: int = 1,
        groups: int = 1,
        relu: bool = False,
    ) -> None:
        kernel_OCHW, scale_O = convolution.quantize(input_params.scale)
        self._activation = "relu" if relu else "none"
        self._input, self._output = input_params, output_params
        self._scale_O = torch.from_numpy(scale_O)
        padding = [convolution.padding, convolution.padding]
        self._geometry = ([stride, stride], padding, [1, 1], groups)
        self._kernel = torch.ops.onednn.qconv_prepack(
            torch.from_numpy(kernel_OCHW),
            self._scale_O,
            input_params.scale,
            input_params.zero_point,
            *self._geometry,
            [PREPACK_BATCH_SIZE, groups * kernel_OCHW.shape[1], side, side],
        )
        self._zero_point_O = torch.zeros(len(scale_O), dtype=torch.int32)
        self._bias_O = torch.from_numpy(convolution.bias_O)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the result for a uint8 input, (B, C, H, W)."""
        return torch.ops.onednn.qconv2d_pointwise(
            *self._operands(x),
            self._bias_O,
            *self._geometry,
            *self._output_params,
            self._activation,
            [],
            "",
        )

    def add_to(
        self, shortcut: Tensor, shortcut_params: QuantizationParams, x: Tensor, *, relu: bool = True
    ) -> Tensor:
        """Add the result to ``shortcut`` in its own memory, and apply ReLU."""
        return torch.ops.onednn.qconv2d_pointwise.binary(
            *self._operands(x),
            shortcut,
            self._bias_O,
            *self._geometry,
            *self._output_params,
            shortcut_params.scale,
            shortcut_params.zero_point,
            "sum",
            1.0,
            "relu" if relu else "none",
            [],
            "",
        )

    def _operands(self, x: Tensor) -> tuple[Tensor, float, int, Tensor, Tensor, Tensor]:
        return x, self._input.scale, self._input.zero_point, self._kernel, self._scale_O, self._zero_point_O

    @property
    def _output_params(self) -> tuple[float, int, torch.dtype]:
        return self._output.scale, self._output.zero_point, torch.uint8


def halved(side: int) -> int:
    """Return the side of a feature map after a stride of 2."""
    return (side + 1) // 2
