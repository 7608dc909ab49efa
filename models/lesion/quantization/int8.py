"""The lesion network in 8 bits: which values are rounded, and how; what all its integer engines share.

Every activation is rounded to one of 256 values within a range that ``train.lesion.calibration_ranges``
measured on photos, every kernel to 255 values an output channel, symmetric about zero. Heads, biases and
the mean over the last feature map stay in float32.

Axes: C input channel, H row, W column, O output channel.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from models.checkpoint import CheckpointMeta
from models.lesion.network import FINE_STRIDE_BELOW_PX

BLOCKS = (3, 4, 6, 3)
"""Bottlenecks of each stage of a ResNet50."""
BATCH_NORM_EPSILON = 1e-5
IMAGE, STEM = "image", "stem"

Weights = Mapping[str, np.ndarray]
"""The state of a ``LesionNet`` or ``LesionEnsemble`` by name, float32."""
Range = tuple[float, float]
"""The least and the largest value that are told apart; what lies outside is taken for the nearest."""
Ranges = Mapping[str, Range]
"""By the name of the activation: ``names_of_ranges``."""


@dataclass(frozen=True, kw_only=True)
class Bottleneck:
    """One residual block of the trunk."""

    name: str
    stride: int
    has_shortcut: bool
    """A convolution stands on the way around the block."""


MAX_BIAS = 2**30
"""Steps; half of what an int32 holds, so that sums still fit."""


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """A convolution with the batch norm behind it folded in."""

    kernel_OCHW: np.ndarray
    bias_O: np.ndarray

    @property
    def padding(self) -> int:
        """Zeros on each side, so that stride 1 keeps the size."""
        return self.kernel_OCHW.shape[-1] // 2

    def rounded(self, input_step: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the kernel as int8, -127 to 127, and the step of each output channel, float32.

        Args:
            input_step: of the activation that it reads. Engines hold a bias as an int32, in units of this
                step times the channel's; where a kernel is next to nothing, its step is such that that fits.
        """
        largest_O = np.abs(self.kernel_OCHW).max(axis=(1, 2, 3))
        step_O = np.where(largest_O > 0, largest_O / 127, 1)
        step_O = np.maximum(step_O, np.abs(self.bias_O) / (MAX_BIAS * input_step)).astype(np.float32)
        return np.rint(self.kernel_OCHW / step_O[:, None, None, None]).astype(np.int8), step_O


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How an activation becomes uint8: ``value / step + zero``, rounded."""

    step: float
    zero: int

    @classmethod
    def of(cls, values: Range) -> "Scale":
        """Spread 256 values over a range, widened so that zero is one of them: padding must be exact."""
        low, high = min(values[0], 0.0), max(values[1], 0.0)
        step = float(np.float32(max(high - low, 1e-6) / 255))
        return cls(step=step, zero=round(-low / step))


def bottlenecks(input_px: int) -> Iterator[Bottleneck]:
    """Yield the blocks of the trunk in order."""
    for stage, num_blocks in enumerate(BLOCKS, start=1):
        narrows = stage in (2, 3) or (stage == 4 and input_px >= FINE_STRIDE_BELOW_PX)
        for number in range(num_blocks):
            yield Bottleneck(
                name=f"layer{stage}.{number}",
                stride=2 if narrows and number == 0 else 1,
                has_shortcut=number == 0,
            )


def convolution(weights: Weights, conv: str, norm: str) -> Convolution:
    """Fold a batch norm into the convolution before it."""
    factor_O = weights[f"{norm}.weight"] / np.sqrt(weights[f"{norm}.running_var"] + BATCH_NORM_EPSILON)
    return Convolution(
        kernel_OCHW=weights[f"{conv}.weight"] * factor_O[:, None, None, None],
        bias_O=weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * factor_O,
    )


def first_convolution(weights: Weights, prefix: str, meta: CheckpointMeta) -> Convolution:
    """Fold batch norm and standard deviation into the first one; it reads pixels less ``pixel_mean``."""
    first = convolution(weights, f"{prefix}trunk.conv1", f"{prefix}trunk.bn1")
    std_C = np.array(meta.std, np.float32)[:, None, None] * 255
    return Convolution(kernel_OCHW=first.kernel_OCHW / std_C, bias_O=first.bias_O)


def pixel_mean(meta: CheckpointMeta) -> np.ndarray:
    """Return the mean of each colour, 0 to 255, float32 (3,)."""
    return np.array(meta.mean, np.float32) * 255


def image_range(meta: CheckpointMeta) -> Range:
    """Return the range of pixels less their mean."""
    mean_C = pixel_mean(meta)
    return float(-mean_C.max()), float(255 - mean_C.min())


def names_of_ranges(input_px: int) -> list[str]:
    """Return the names of all activations whose range must be measured."""
    names = [STEM]
    for block in bottlenecks(input_px):
        names += [f"{block.name}.conv1", f"{block.name}.conv2", f"{block.name}.conv3"]
        names += [f"{block.name}.shortcut"] if block.has_shortcut else []
        names += [block.name]
    return names


def is_range(name: str, values: Range) -> bool:
    """Say whether an activation can have this range: finite, in order, with zero; from zero behind a ReLU."""
    low, high = values
    may_be_negative = name.endswith((".conv3", ".shortcut"))
    in_order = math.isfinite(high - low) and low < high and low <= 0 <= high
    return in_order and (may_be_negative or low == 0)
