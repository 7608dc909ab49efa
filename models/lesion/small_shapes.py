"""Shapes of the small lesion network, EfficientNet-Lite0; importable without torch."""

from collections.abc import Iterator
from dataclasses import dataclass

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
STEM_CHANNELS, TOP_CHANNELS = 32, 1280
BATCH_NORM_EPSILON = 1e-3
MAX_RELU6 = 6.0


@dataclass(frozen=True, kw_only=True)
class ConvolutionSpec:
    """One convolution of the network with its batch norm."""

    activation: str
    """Name of the result in the calibration ranges."""
    conv: str
    """In stored weights."""
    norm: str
    """In stored weights."""
    kernel: int
    stride: int
    groups: int
    relu6: bool


@dataclass(frozen=True, kw_only=True)
class InvertedResidual:
    """Shape of one block: expansion (if any), depthwise convolution, projection."""

    name: str
    before: int
    inner: int
    after: int
    kernel: int
    stride: int

    @property
    def is_residual(self) -> bool:
        """Whether the block's input is added to its projection."""
        return self.stride == 1 and self.before == self.after

    @property
    def convolutions(self) -> list[ConvolutionSpec]:
        """The convolutions in order."""
        steps = [("depthwise", self.kernel, self.stride, self.inner), ("projection", 1, 1, 1)]
        if self.inner != self.before:
            steps.insert(0, ("expansion", 1, 1, 1))
        return [
            ConvolutionSpec(
                activation=f"{self.name}.{step}",
                conv=f"{self.name}.layers.{3 * number}",
                norm=f"{self.name}.layers.{3 * number + 1}",
                kernel=kernel,
                stride=stride,
                groups=groups,
                relu6=step != "projection",
            )
            for number, (step, kernel, stride, groups) in enumerate(steps)
        ]


STEM = ConvolutionSpec(
    activation="stem", conv="stem.0", norm="stem.1", kernel=3, stride=2, groups=1, relu6=True
)
TOP = ConvolutionSpec(activation="top", conv="top.0", norm="top.1", kernel=1, stride=1, groups=1, relu6=True)


def inverted_residuals() -> Iterator[InvertedResidual]:
    """Yield the shapes of the blocks in order."""
    before, count = STEM_CHANNELS, 0
    for repeats, kernel, stride, expansion, after in EFFICIENTNET_LITE0:
        for number in range(repeats):
            yield InvertedResidual(
                name=f"blocks.{count}",
                before=before,
                inner=before * expansion,
                after=after,
                kernel=kernel,
                stride=stride if number == 0 else 1,
            )
            before, count = after, count + 1


def small_activation_names() -> list[str]:
    """Return the names of all activations that need a calibration range.

    The range of the projection of a residual block is that of the block's sum.
    """
    blocks = [one.activation for block in inverted_residuals() for one in block.convolutions]
    return [STEM.activation, *blocks, TOP.activation]
