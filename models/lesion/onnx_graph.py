"""The lesion network as an ONNX graph, node by node from the stored weights, in float32 or in 8 bits.

Built in memory whenever an engine starts: half a second, where torch.onnx takes half a minute. Normalisation
stands in the graph; ONNX Runtime turns each QuantizeLinear, DequantizeLinear and what lies between them into
one integer kernel.

Axes: B photo, H row, W column, C channel, K diagnosis, O output channel.
"""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.checkpoint import CheckpointMeta
from models.diagnoses import GROUPS
from models.lesion.quantization.int8 import (
    IMAGE,
    STEM,
    Bottleneck,
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

OPSET, IR_VERSION = 17, 8
PHOTOS, MALIGNANT, DIAGNOSIS, FEATURES = "image_BHWC", "malignant_B", "diagnosis_BK", "features_BCHW"


def lesion_graph(weights: Weights, meta: CheckpointMeta, ranges: Ranges | None = None) -> onnx.ModelProto:
    """Return the graph of one network or of an ensemble; with ``ranges`` its trunk computes in 8 bits.

    It reads ``image_BHWC``, uint8, and answers ``malignant_B``, ``diagnosis_BK`` and ``features_BCHW``, as
    ``models.engine.LesionOutput``.
    """
    graph = _Graph(weights, meta, None if ranges is None else {**ranges, IMAGE: image_range(meta)})
    num_members = meta.architecture.get("num_members")
    prefixes = [""] if num_members is None else [f"members.{number}." for number in range(num_members)]
    image = graph.photos()
    features = [graph.trunk(image, prefix) for prefix in prefixes]
    pooled = [
        graph.add("ReduceMean", [one], f"{prefix}pooled", axes=[2, 3], keepdims=0)
        for one, prefix in zip(features, prefixes, strict=True)
    ]
    graph.probability(pooled, prefixes, "risk_head", "risk_BR")
    malignant = graph.constant("malignant", np.array(GROUPS.index("malignant"), np.int64))
    graph.add("Gather", ["risk_BR", malignant], MALIGNANT, axis=1)
    graph.probability(pooled, prefixes, "diagnosis_head", DIAGNOSIS)
    graph.add("Concat", features, FEATURES, axis=1)
    side = meta.input_px
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            meta.kind,
            [helper.make_tensor_value_info(PHOTOS, TensorProto.UINT8, ["B", side, side, 3])],
            [
                helper.make_tensor_value_info(MALIGNANT, TensorProto.FLOAT, ["B"]),
                helper.make_tensor_value_info(DIAGNOSIS, TensorProto.FLOAT, ["B", len(meta.labels)]),
                helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["B", "C", "H", "W"]),
            ],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )


class _Graph:
    """Nodes and constants, added in the order of computation; every method returns the name of a tensor."""

    def __init__(self, weights: Weights, meta: CheckpointMeta, ranges: Ranges | None) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._weights = weights
        self._meta = meta
        self._scales = None if ranges is None else {name: Scale.of(values) for name, values in ranges.items()}
        self._step_of: dict[str, float] = {}

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: np.ndarray | np.generic) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def photos(self) -> str:
        """Pixels less their mean; channels first before anything is computed, which is cheapest."""
        mean = self.constant("mean_C11", pixel_mean(self._meta)[:, None, None])
        channels_first = self.add("Transpose", [PHOTOS], "image_BCHW", perm=[0, 3, 1, 2])
        pixels = self.add("Cast", [channels_first], "pixels", to=TensorProto.FLOAT)
        return self.rounded(self.add("Sub", [pixels, mean], "centred"), IMAGE)

    def trunk(self, x: str, prefix: str) -> str:
        first = first_convolution(self._weights, prefix, self._meta)
        x = self.convolve(x, first, f"{prefix}{STEM}", stride=2, relu=True)
        x = self.rounded(x, STEM)
        x = self.add("MaxPool", [x], f"{prefix}pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        x = self.rounded(x, STEM)
        for block in bottlenecks(self._meta.input_px):
            x = self.bottleneck(x, prefix, block)
        return x

    def bottleneck(self, x: str, prefix: str, block: Bottleneck) -> str:
        trunk = f"{prefix}trunk.{block.name}"
        name = f"{prefix}{block.name}"
        kept = x
        if block.has_shortcut:
            around = convolution(self._weights, f"{trunk}.downsample.0", f"{trunk}.downsample.1")
            kept = self.convolve(x, around, f"{name}.shortcut", stride=block.stride)
            kept = self.rounded(kept, f"{block.name}.shortcut")
        for number in (1, 2, 3):
            one = convolution(self._weights, f"{trunk}.conv{number}", f"{trunk}.bn{number}")
            stride = block.stride if number == 2 else 1
            x = self.convolve(x, one, f"{name}.conv{number}", stride=stride, relu=number < 3)
            x = self.rounded(x, f"{block.name}.conv{number}")
        x = self.add("Add", [x, kept], f"{name}.sum")
        return self.rounded(self.add("Relu", [x], name), block.name)

    def convolve(self, x: str, how: Convolution, name: str, *, stride: int, relu: bool = False) -> str:
        kernel, bias = self.kernel_and_bias(x, how, name)
        size = how.kernel_OCHW.shape[-1]
        output = self.add(
            "Conv",
            [x, kernel, bias],
            f"{name}.linear" if relu else name,
            kernel_shape=[size, size],
            strides=[stride, stride],
            pads=[how.padding] * 4,
        )
        return self.add("Relu", [output], name) if relu else output

    def kernel_and_bias(self, x: str, how: Convolution, name: str) -> tuple[str, str]:
        kernel, bias = f"{name}.kernel", f"{name}.bias"
        if self._scales is None:
            return self.constant(kernel, how.kernel_OCHW), self.constant(bias, how.bias_O)
        whole_OCHW, step_O = how.rounded(self._step_of[x])
        bias_step_O = step_O * np.float32(self._step_of[x])
        bias_O = np.rint(how.bias_O / bias_step_O).astype(np.int32)
        return self.restored(kernel, whole_OCHW, step_O), self.restored(bias, bias_O, bias_step_O)

    def restored(self, name: str, whole: np.ndarray, step_O: np.ndarray) -> str:
        inputs = [self.constant(f"{name}.whole", whole), self.constant(f"{name}.step", step_O)]
        inputs.append(self.constant(f"{name}.zero", np.zeros(len(step_O), whole.dtype)))
        return self.add("DequantizeLinear", inputs, name, axis=0)

    def rounded(self, x: str, range_of: str) -> str:
        """Round an activation, in the 8-bit graph; in the other it stays as it is."""
        if self._scales is None:
            return x
        scale = self._scales[range_of]
        step = self.constant(f"{x}.step", np.float32(scale.step))
        zero = self.constant(f"{x}.zero", np.uint8(scale.zero))
        whole = self.add("QuantizeLinear", [x, step, zero], f"{x}.whole")
        output = self.add("DequantizeLinear", [whole, step, zero], f"{x}.rounded")
        self._step_of[output] = scale.step
        return output

    def probability(self, pooled: list[str], prefixes: list[str], head: str, output: str) -> None:
        logits = [self.head(x, f"{prefix}{head}") for x, prefix in zip(pooled, prefixes, strict=True)]
        mean = self.add("Mean", logits, f"{head}.mean") if len(logits) > 1 else logits[0]
        self.add("Softmax", [mean], output, axis=1)

    def head(self, pooled: str, name: str) -> str:
        hidden = self.add("Relu", [self.dense(pooled, f"{name}.0")], f"{name}.1")
        return self.dense(hidden, f"{name}.3")

    def dense(self, x: str, name: str) -> str:
        inputs = [x]
        inputs += [
            self.constant(f"{name}.{part}", self._weights[f"{name}.{part}"]) for part in ("weight", "bias")
        ]
        return self.add("Gemm", inputs, name, transB=1)
