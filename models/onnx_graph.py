"""Build ONNX graphs in memory; ``torch.onnx`` needs torch and takes much longer."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Weights = Mapping[str, np.ndarray]
"""Parameters and buffers of a network by name, float32."""
OPSET, IR_VERSION = 17, 8
Value = tuple[int, Sequence[int | str | None]]
"""Type of ``TensorProto`` and shape of an input or output; a name or None stands for any size."""
BOOL, FLOAT, INT64, UINT8 = TensorProto.BOOL, TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8


class UsedWeights(dict[str, np.ndarray]):
    """Weights that remember which of them were read."""

    def __init__(self, weights: Weights) -> None:
        super().__init__(weights)
        self._used: set[str] = set()

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a weight."""
        self._used.add(name)
        return super().__getitem__(name)

    def check_all_used(self) -> None:
        """Raise ValueError if a weight was not read: the checkpoint is of another network."""
        unused = sorted(set(self) - self._used)
        if unused := [name for name in unused if not name.endswith(".num_batches_tracked")]:
            raise ValueError(f"unknown weights {', '.join(unused[:3])}")


class GraphBuilder:
    """Collect nodes and constants in the order of computation; methods return the name of their output."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def add(
        self, operator: str, inputs: Sequence[str | np.ndarray | np.generic], output: str, **attributes: Any
    ) -> str:
        """Add a node.

        Args:
            operator: of ONNX, version ``OPSET``.
            inputs: names of outputs or of constants; an array becomes a constant.
            output: name of the node and its output.
            attributes: of the operator.
        """
        names = [
            one if isinstance(one, str) else self.constant(f"{output}.{number}", one)
            for number, one in enumerate(inputs)
        ]
        self._nodes.append(helper.make_node(operator, names, [output], name=output, **attributes))
        return output

    def add_node(self, node: onnx.NodeProto) -> None:
        """Add a node with several outputs."""
        self._nodes.append(node)

    def constant(self, name: str, value: np.ndarray | np.generic) -> str:
        """Add a constant that several nodes use."""
        self._constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def graph(self, name: str, inputs: Mapping[str, Value], outputs: Mapping[str, Value]) -> onnx.GraphProto:
        """Return all nodes as the body of an operator such as Scan."""
        sides = (
            [helper.make_tensor_value_info(key, *value) for key, value in one.items()]
            for one in (inputs, outputs)
        )
        return helper.make_graph(self._nodes, name, *sides, initializer=self._constants)

    def model(self, name: str, inputs: Mapping[str, Value], outputs: Mapping[str, Value]) -> onnx.ModelProto:
        """Return all nodes as a model."""
        return helper.make_model(
            self.graph(name, inputs, outputs),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
        )
