"""Build the ONNX graph of a lesion network from its weights, in float32 or, for ResNet50, in int8.

The graph is built in memory at every start, in half a second; ``torch.onnx`` takes half a minute. It includes
the normalisation of pixels. ONNX Runtime fuses QuantizeLinear, DequantizeLinear and the operators between
them into integer kernels.

Axes: B photo, H row, W column, C channel, K diagnosis, O output channel.
"""

import numpy as np
import onnx

from models.checkpoint import CheckpointMeta
from models.diagnoses import GROUPS
from models.lesion.engine import has_scope
from models.lesion.quantization.int8 import (
    IMAGE,
    STEM,
    Bottleneck,
    CalibrationRanges,
    Convolution,
    QuantizationParams,
    bottlenecks,
    fold_convolution,
    fold_first_convolution,
    fold_small,
    pixel_mean,
    pixel_range,
)
from models.lesion.shapes import SMALL_NETWORK, network_name
from models.lesion.small_shapes import MAX_RELU6, ConvolutionSpec, inverted_residuals
from models.lesion.small_shapes import STEM as STEM_SPEC
from models.lesion.small_shapes import TOP as TOP_SPEC
from models.onnx_graph import FLOAT, UINT8, GraphBuilder, UsedWeights, Value, Weights

PHOTOS, MALIGNANT, DIAGNOSIS, FEATURES = "image_BHWC", "malignant_B", "diagnosis_BK", "features_BCHW"
SCOPE, GRAD_CAM = "scope_B", "grad_cam_BRHW"
ARCHITECTURE = {"network", "num_members", "num_diagnoses", "input_px", "dropout", "scope_head"}
"""Known keys."""


def lesion_graph(
    weights: Weights, meta: CheckpointMeta, ranges: CalibrationRanges | None = None
) -> onnx.ModelProto:
    """Return the graph of a network or an ensemble; with ``ranges`` a ResNet50 computes in int8.

    Its input is ``image_BHWC``, uint8; its outputs are ``malignant_B``, ``diagnosis_BK``,
    ``features_BCHW``, ``grad_cam_BRHW`` and, with a scope head, ``scope_B`` of
    ``models.lesion.engine.LesionOutput``.

    Raises:
        ValueError: the architecture or a weight is unknown, or the heads have other diagnoses.
        KeyError: a weight is missing.
    """
    if unknown := set(meta.architecture) - ARCHITECTURE:
        raise ValueError(f"unknown architecture {', '.join(sorted(unknown))}")
    weights = UsedWeights(weights)
    graph = _Graph(weights, meta, None if ranges is None else {**ranges, IMAGE: pixel_range(meta)})
    num_members = meta.architecture.get("num_members")
    prefixes = [""] if num_members is None else [f"members.{number}." for number in range(num_members)]
    image = graph.pixels()
    if network_name(meta.architecture) == SMALL_NETWORK:
        features = [graph.small_backbone(image)]
    else:
        features = [graph.backbone(image, prefix) for prefix in prefixes]
    pooled = [
        graph.add("ReduceMean", [one], f"{prefix}pooled", axes=[2, 3], keepdims=0)
        for one, prefix in zip(features, prefixes, strict=True)
    ]
    graph.probability(pooled, prefixes, "risk_head", "risk_BR")
    malignant = graph.constant("malignant", np.array(GROUPS.index("malignant"), np.int64))
    graph.add("Gather", ["risk_BR", malignant], MALIGNANT, axis=1)
    graph.probability(pooled, prefixes, "diagnosis_head", DIAGNOSIS)
    graph.add("Concat", features, FEATURES, axis=1)
    graph.grad_cam(features, prefixes)
    outputs: dict[str, Value] = {
        MALIGNANT: (FLOAT, ["B"]),
        DIAGNOSIS: (FLOAT, ["B", len(meta.labels)]),
        FEATURES: (FLOAT, ["B", "C", "H", "W"]),
        GRAD_CAM: (FLOAT, ["B", len(GROUPS), "H", "W"]),
    }
    if has_scope(meta):
        graph.scope(pooled, prefixes)
        outputs[SCOPE] = (FLOAT, ["B"])
    for name in (f"{prefix}diagnosis_head.3.bias" for prefix in prefixes):
        if len(weights[name]) != len(meta.labels):
            raise ValueError(f"{name} has {len(weights[name])} values for {len(meta.labels)} diagnoses")
    weights.check_all_used()
    side = meta.input_px
    return graph.model(meta.kind, {PHOTOS: (UINT8, ["B", side, side, 3])}, outputs)


class _Graph(GraphBuilder):
    def __init__(self, weights: Weights, meta: CheckpointMeta, ranges: CalibrationRanges | None) -> None:
        super().__init__()
        self._weights = weights
        self._meta = meta
        self._params = None
        if ranges is not None:
            self._params = {name: QuantizationParams.from_range(one) for name, one in ranges.items()}
        self._scale_of: dict[str, float] = {}

    def pixels(self) -> str:
        """Add the input minus its mean; transposing the uint8 input is cheapest."""
        mean = self.constant("mean_C11", pixel_mean(self._meta)[:, None, None])
        channels_first = self.add("Transpose", [PHOTOS], "image_BCHW", perm=[0, 3, 1, 2])
        pixels = self.add("Cast", [channels_first], "pixels", to=FLOAT)
        return self.quantize(self.add("Sub", [pixels, mean], "centred"), IMAGE)

    def backbone(self, x: str, prefix: str) -> str:
        first = fold_first_convolution(self._weights, prefix, self._meta)
        x = self.convolve(x, first, f"{prefix}{STEM}", stride=2, relu=True)
        x = self.quantize(x, STEM)
        x = self.add("MaxPool", [x], f"{prefix}pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        x = self.quantize(x, STEM)
        for block in bottlenecks(self._meta.input_px):
            x = self.bottleneck(x, prefix, block)
        return x

    def small_backbone(self, image: str) -> str:
        """Add the backbone of a ``SmallLesionNet``."""
        x = self.small_convolution(image, STEM_SPEC)
        for block in inverted_residuals():
            shortcut = x
            for spec in block.convolutions:
                x = self.small_convolution(x, spec)
            if block.is_residual:
                x = self.add("Add", [x, shortcut], block.name)
        return self.small_convolution(x, TOP_SPEC)

    def small_convolution(self, x: str, spec: ConvolutionSpec) -> str:
        folded = fold_small(self._weights, spec, self._meta)
        x = self.convolve(x, folded, spec.activation, stride=spec.stride, groups=spec.groups)
        if not spec.relu6:
            return x
        return self.add("Clip", [x, np.float32(0), np.float32(MAX_RELU6)], f"{x}.relu6")

    def bottleneck(self, x: str, prefix: str, block: Bottleneck) -> str:
        stored = f"{prefix}backbone.{block.name}"
        name = f"{prefix}{block.name}"
        shortcut = x
        if block.has_shortcut:
            folded = fold_convolution(self._weights, f"{stored}.downsample.0", f"{stored}.downsample.1")
            shortcut = self.convolve(x, folded, f"{name}.shortcut", stride=block.stride)
            shortcut = self.quantize(shortcut, f"{block.name}.shortcut")
        for number in (1, 2, 3):
            folded = fold_convolution(self._weights, f"{stored}.conv{number}", f"{stored}.bn{number}")
            stride = block.stride if number == 2 else 1
            x = self.convolve(x, folded, f"{name}.conv{number}", stride=stride, relu=number < 3)
            x = self.quantize(x, f"{block.name}.conv{number}")
        x = self.add("Add", [x, shortcut], f"{name}.sum")
        return self.quantize(self.add("Relu", [x], name), block.name)

    def convolve(
        self, x: str, folded: Convolution, name: str, *, stride: int, groups: int = 1, relu: bool = False
    ) -> str:
        kernel, bias = self.kernel_and_bias(x, folded, name)
        size = folded.kernel_OCHW.shape[-1]
        output = self.add(
            "Conv",
            [x, kernel, bias],
            f"{name}.linear" if relu else name,
            kernel_shape=[size, size],
            strides=[stride, stride],
            pads=[folded.padding] * 4,
            group=groups,
        )
        return self.add("Relu", [output], name) if relu else output

    def kernel_and_bias(self, x: str, folded: Convolution, name: str) -> tuple[str, str]:
        kernel, bias = f"{name}.kernel", f"{name}.bias"
        if self._params is None:
            return self.constant(kernel, folded.kernel_OCHW), self.constant(bias, folded.bias_O)
        kernel_OCHW, scale_O = folded.quantize(self._scale_of[x])
        bias_scale_O = scale_O * np.float32(self._scale_of[x])
        bias_O = np.rint(folded.bias_O / bias_scale_O).astype(np.int32)
        return self.dequantized(kernel, kernel_OCHW, scale_O), self.dequantized(bias, bias_O, bias_scale_O)

    def dequantized(self, name: str, integers: np.ndarray, scale_O: np.ndarray) -> str:
        """Add an integer constant and its DequantizeLinear."""
        inputs = [self.constant(f"{name}.int", integers), self.constant(f"{name}.scale", scale_O)]
        inputs.append(self.constant(f"{name}.zero_point", np.zeros(len(scale_O), integers.dtype)))
        return self.add("DequantizeLinear", inputs, name, axis=0)

    def quantize(self, x: str, activation: str) -> str:
        """Add QuantizeLinear and DequantizeLinear in the int8 graph; return ``x`` in the float32 graph."""
        if self._params is None:
            return x
        params = self._params[activation]
        scale = self.constant(f"{x}.scale", np.float32(params.scale))
        zero_point = self.constant(f"{x}.zero_point", np.uint8(params.zero_point))
        integers = self.add("QuantizeLinear", [x, scale, zero_point], f"{x}.uint8")
        output = self.add("DequantizeLinear", [integers, scale, zero_point], f"{x}.dequantized")
        self._scale_of[output] = params.scale
        return output

    def probability(self, pooled: list[str], prefixes: list[str], head: str, output: str) -> None:
        logits = [self.head(x, f"{prefix}{head}") for x, prefix in zip(pooled, prefixes, strict=True)]
        self.add("Softmax", [self.mean(logits, head)], output, axis=1)

    def grad_cam(self, features: list[str], prefixes: list[str]) -> None:
        """Add the Grad-CAM map of each risk group; an ensemble has the mean of its members' maps."""
        maps = [self.member_grad_cam(x, prefix) for x, prefix in zip(features, prefixes, strict=True)]
        if len(maps) == 1:
            self.add("Identity", maps, GRAD_CAM)
        else:
            self.scaled_to_one(self.add("Mean", maps, "grad_cam.mean"), GRAD_CAM)

    def member_grad_cam(self, features: str, prefix: str) -> str:
        """Add the maps of one network in closed form, as ``models.lesion.network.grad_cam``."""
        name = f"{prefix}grad_cam"
        first, last = (self._weights[f"{prefix}risk_head.{number}.weight"] for number in (0, 3))
        active = self.add("Greater", [f"{prefix}risk_head.0", np.float32(0)], f"{name}.active")
        active = self.add("Cast", [active], f"{name}.slope_of_relu", to=FLOAT)
        active = self.add("Unsqueeze", [active, np.array([1], np.int64)], f"{name}.slope_B1")
        hidden = self.add("Mul", [active, last], f"{name}.hidden")
        slope = self.add("MatMul", [hidden, first], f"{name}.slope")
        flat = self.add("Reshape", [features, np.array([0, 0, -1], np.int64)], f"{name}.pixels")
        evidence = self.add("Relu", [self.add("MatMul", [slope, flat], f"{name}.sum")], f"{name}.evidence")
        size = self.add("Shape", [features], f"{name}.size", start=2)
        shape = self.add("Concat", [np.array([0, len(last)], np.int64), size], f"{name}.shape", axis=0)
        return self.scaled_to_one(self.add("Reshape", [evidence, shape], f"{name}.maps"), f"{name}.scaled")

    def scaled_to_one(self, maps: str, output: str) -> str:
        """Divide each map by its maximum."""
        largest = self.add("ReduceMax", [maps], f"{output}.largest", axes=[2, 3], keepdims=1)
        largest = self.add("Max", [largest, np.float32(1e-12)], f"{output}.divisor")
        return self.add("Div", [maps, largest], output)

    def scope(self, pooled: list[str], prefixes: list[str]) -> None:
        logits = [self.dense(x, f"{prefix}scope_head") for x, prefix in zip(pooled, prefixes, strict=True)]
        column = self.constant("column", np.array([1], np.int64))
        scope_B = self.add("Squeeze", [self.mean(logits, "scope_head"), column], "scope")
        self.add("Sigmoid", [scope_B], SCOPE)

    def mean(self, logits: list[str], head: str) -> str:
        """Average the members of an ensemble."""
        return self.add("Mean", logits, f"{head}.mean") if len(logits) > 1 else logits[0]

    def head(self, pooled: str, name: str) -> str:
        hidden = self.add("Relu", [self.dense(pooled, f"{name}.0")], f"{name}.1")
        return self.dense(hidden, f"{name}.3")

    def dense(self, x: str, name: str) -> str:
        parts = [self._weights[f"{name}.{part}"] for part in ("weight", "bias")]
        return self.add("Gemm", [x, *parts], name, transB=1)
