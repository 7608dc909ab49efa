"""Quantize the lesion network to int8: the scheme of all int8 runtimes.

Activations are uint8 with one scale and zero point per tensor, from the calibration ranges that
``train.lesion.calibration_ranges`` measures. Kernels are symmetric int8 with one scale per output channel.
Heads, biases and global average pooling stay in float32.

Axes: C input channel, H row, W column, O output channel.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from models.checkpoint import CheckpointMeta
from models.lesion import small_shapes
from models.lesion.shapes import FINE_STRIDE_BELOW_PX, PREFIX
from models.lesion.small_shapes import ConvolutionSpec
from models.onnx_graph import Weights

BLOCKS = (3, 4, 6, 3)
"""Bottlenecks of each stage of a ResNet50."""
BATCH_NORM_EPSILON = 1e-5
IMAGE, STEM = "image", "stem"
SUM_WEIGHT = 10
"""Of the squared error of a kernel's sum against the squared errors of its weights."""
MAX_INT32_BIAS = 2**30
"""Half of what an int32 holds, which leaves room for the sum of products."""

Range = tuple[float, float]
"""Smallest and largest value of an activation that int8 represents; values outside are clipped."""
CalibrationRanges = Mapping[str, Range]
"""By the names of ``activation_names`` or ``small_activation_names``."""


@dataclass(frozen=True, kw_only=True)
class Bottleneck:
    """One residual block of the backbone."""

    name: str
    stride: int
    has_shortcut: bool
    """Whether the shortcut has a convolution."""


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """A convolution with its batch norm folded in."""

    kernel_OCHW: np.ndarray
    bias_O: np.ndarray
    keeps_sums: bool = False
    """Whether int8 keeps the sum of each output channel's kernel: needed by depthwise convolutions."""

    @property
    def padding(self) -> int:
        """Zeros on each side that keep the size at stride 1."""
        return self.kernel_OCHW.shape[-1] // 2

    def quantize(self, input_scale: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the kernel as int8, -127 to 127, and the scale of each output channel, float32.

        Args:
            input_scale: of the activation that the convolution reads. Runtimes store a bias as an int32 in
                units of this scale times the channel's; the scale of a tiny kernel is raised until it fits.
        """
        largest_O = np.abs(self.kernel_OCHW).max(axis=(1, 2, 3))
        scale_O = np.where(largest_O > 0, largest_O / 127, 1)
        scale_O = np.maximum(scale_O, np.abs(self.bias_O) / (MAX_INT32_BIAS * input_scale))
        scale_O = scale_O.astype(np.float32)
        if self.keeps_sums:
            scale_O = _scale_that_keeps_sums(self.kernel_OCHW, scale_O)
        return np.rint(self.kernel_OCHW / scale_O[:, None, None, None]).astype(np.int8), scale_O


def _scale_that_keeps_sums(kernel_OCHW: np.ndarray, scale_O: np.ndarray) -> np.ndarray:
    """Return for each channel the scale, at most 1.3 times the given one, whose rounding errors cancel best.

    Inputs are positive and alike at neighbouring pixels, so that errors of one sign add up.
    """
    least_O, chosen_O = np.full(len(scale_O), np.inf), scale_O
    for factor in np.linspace(1, 1.3, 31, dtype=np.float32):
        scale_O111 = (factor * scale_O)[:, None, None, None]
        error_OCHW = np.rint(kernel_OCHW / scale_O111) * scale_O111 - kernel_OCHW
        error_O = SUM_WEIGHT * error_OCHW.sum((1, 2, 3)) ** 2 + (error_OCHW**2).sum((1, 2, 3))
        chosen_O = np.where(error_O < least_O, scale_O111[:, 0, 0, 0], chosen_O)
        least_O = np.minimum(least_O, error_O)
    return chosen_O


@dataclass(frozen=True, kw_only=True)
class QuantizationParams:
    """Scale and zero point of a uint8 activation: ``round(value / scale) + zero_point``."""

    scale: float
    zero_point: int

    @classmethod
    def from_range(cls, values: Range) -> "QuantizationParams":
        """Map a range to 256 values; include zero, since padding must be exact."""
        low, high = min(values[0], 0.0), max(values[1], 0.0)
        scale = float(np.float32(max(high - low, 1e-6) / 255))
        return cls(scale=scale, zero_point=round(-low / scale))


def bottlenecks(input_px: int) -> Iterator[Bottleneck]:
    """Yield the blocks of the backbone in order."""
    for stage, num_blocks in enumerate(BLOCKS, start=1):
        has_stride = stage in (2, 3) or (stage == 4 and input_px >= FINE_STRIDE_BELOW_PX)
        for number in range(num_blocks):
            yield Bottleneck(
                name=f"layer{stage}.{number}",
                stride=2 if has_stride and number == 0 else 1,
                has_shortcut=number == 0,
            )


def fold_convolution(
    weights: Weights, conv: str, norm: str, *, epsilon: float = BATCH_NORM_EPSILON
) -> Convolution:
    """Fold a batch norm into the convolution before it."""
    factor_O = weights[f"{norm}.weight"] / np.sqrt(weights[f"{norm}.running_var"] + epsilon)
    return Convolution(
        kernel_OCHW=weights[f"{conv}.weight"] * factor_O[:, None, None, None],
        bias_O=weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * factor_O,
    )


def fold_first_convolution(weights: Weights, prefix: str, meta: CheckpointMeta) -> Convolution:
    """Fold batch norm and pixel scaling into the first convolution, which reads centred pixels."""
    return read_centred_pixels(
        fold_convolution(weights, f"{prefix}backbone.conv1", f"{prefix}backbone.bn1"), meta
    )


def read_centred_pixels(first: Convolution, meta: CheckpointMeta) -> Convolution:
    """Fold pixel scaling into a convolution of normalised pixels; it then reads centred pixels."""
    std_C = np.array(meta.std, np.float32)[:, None, None] * 255
    return Convolution(kernel_OCHW=first.kernel_OCHW / std_C, bias_O=first.bias_O)


def fold_small(weights: Weights, spec: ConvolutionSpec, meta: CheckpointMeta) -> Convolution:
    """Fold the batch norm of one convolution of a ``SmallLesionNet``; the first reads centred pixels."""
    folded = fold_convolution(
        weights, f"{PREFIX}{spec.conv}", f"{PREFIX}{spec.norm}", epsilon=small_shapes.BATCH_NORM_EPSILON
    )
    if spec == small_shapes.STEM:
        folded = read_centred_pixels(folded, meta)
    return replace(folded, keeps_sums=True)


def pixel_mean(meta: CheckpointMeta) -> np.ndarray:
    """Return the mean of each colour channel, 0 to 255, float32 (3,)."""
    return np.array(meta.mean, np.float32) * 255


def pixel_range(meta: CheckpointMeta) -> Range:
    """Return the range of pixels minus their mean."""
    mean_C = pixel_mean(meta)
    return float(-mean_C.max()), float(255 - mean_C.min())


def activation_names(input_px: int) -> list[str]:
    """Return the names of all activations that need a calibration range."""
    names = [STEM]
    for block in bottlenecks(input_px):
        names += [f"{block.name}.conv1", f"{block.name}.conv2", f"{block.name}.conv3"]
        names += [f"{block.name}.shortcut"] if block.has_shortcut else []
        names += [block.name]
    return names


def is_valid_range(name: str, values: Range) -> bool:
    """Check that a range is finite, ordered, contains zero, and after a ReLU starts there."""
    low, high = values
    may_be_negative = name.endswith((".conv3", ".shortcut", ".projection"))
    is_ordered = math.isfinite(high - low) and low < high and low <= 0 <= high
    return is_ordered and (may_be_negative or low == 0)
