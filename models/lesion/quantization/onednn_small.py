"""The int8 backbone of the small lesion network through oneDNN; needs AVX-512 VNNI.

ReLU6 needs no operator: its output is quantized from 0 to at most 6, and values outside are clipped.

Axes: B photo, H row, W column, C channel.
"""

import torch
from torch import Tensor

from models.checkpoint import CheckpointMeta
from models.lesion.quantization.int8 import (
    CalibrationRanges,
    QuantizationParams,
    Weights,
    fold_small,
    pixel_mean,
    pixel_range,
)
from models.lesion.quantization.onednn import Int8Convolution, halved, quantized_pixels
from models.lesion.small_shapes import MAX_RELU6, STEM, TOP, ConvolutionSpec, inverted_residuals


class SmallInt8Backbone:
    """Compute the last feature map of one ``SmallLesionNet`` in int8."""

    def __init__(self, weights: Weights, meta: CheckpointMeta, ranges: CalibrationRanges) -> None:
        self._mean_C = torch.from_numpy(pixel_mean(meta))
        self._image = QuantizationParams.from_range(pixel_range(meta))
        builder = _Builder(weights, meta, ranges)
        self._stem = builder.convolution(STEM)
        self._blocks: list[_Int8InvertedResidual] = []
        for block in inverted_residuals():
            before = builder.params
            convolutions = [builder.convolution(one) for one in block.convolutions]
            self._blocks.append(_Int8InvertedResidual(convolutions, before if block.is_residual else None))
        self._top = builder.convolution(TOP)
        self._output = builder.params

    def __call__(self, image_BHWC: Tensor) -> Tensor:
        """Return the last feature map, float32 (B, 1280, h, w), of uint8 photos."""
        x = self._stem(quantized_pixels(image_BHWC, self._mean_C, self._image))
        for block in self._blocks:
            x = block(x)
        return self._top(x).float().sub_(self._output.zero_point).mul_(self._output.scale)


class _Builder:
    """Build convolutions in order, each with the parameters of the one before as its input."""

    def __init__(self, weights: Weights, meta: CheckpointMeta, ranges: CalibrationRanges) -> None:
        self._weights, self._meta, self._ranges = weights, meta, ranges
        self._side = meta.input_px
        self.params = QuantizationParams.from_range(pixel_range(meta))
        """Of the last output."""

    def convolution(self, spec: ConvolutionSpec) -> Int8Convolution:
        low, high = self._ranges[spec.activation]
        output = QuantizationParams.from_range((low, min(high, MAX_RELU6) if spec.relu6 else high))
        folded = fold_small(self._weights, spec, self._meta)
        built = Int8Convolution(
            folded, self.params, output, self._side, stride=spec.stride, groups=spec.groups
        )
        self.params = output
        self._side = halved(self._side) if spec.stride == 2 else self._side
        return built


class _Int8InvertedResidual:
    def __init__(self, convolutions: list[Int8Convolution], shortcut: QuantizationParams | None) -> None:
        *self._first, self._last = convolutions
        self._shortcut = shortcut
        """Parameters of the block's input, if it is added to the projection."""

    def __call__(self, x: Tensor) -> Tensor:
        inner = x
        for convolution in self._first:
            inner = convolution(inner)
        if self._shortcut is None:
            return self._last(inner)
        return self._last.add_to(x, self._shortcut, inner, relu=False)
