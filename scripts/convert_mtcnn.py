"""Convert the networks of MTCNN from facenet-pytorch to ONNX: ``python -m scripts.convert_mtcnn``.

They are written beside ``models.face.mtcnn``. Licence of networks and package: MIT.
"""

from dataclasses import dataclass
from pathlib import Path

import facenet_pytorch
import numpy as np
import onnx
import torch
import tyro
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
from torch import nn

import models.face
from models.face.mtcnn import LANDMARKS_PX, NETWORKS, REFINEMENT_PX
from models.onnx_graph import FLOAT, GraphBuilder, Value

HEADS = {
    "conv4_1": "probability",
    "conv4_2": "correction",
    "dense5_1": "probability",
    "dense5_2": "correction",
    "dense6_1": "probability",
    "dense6_2": "correction",
    "dense6_3": "landmarks",
}
"""Outputs of the last layers."""
SHAPES: dict[str, list[int | str]] = {
    "probability": ["N"],
    "correction": ["N", 4],
    "landmarks": ["N", 2, 5],
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Convert MTCNN."""

    out: Path = Path(models.face.__file__).parent


def main(settings: Settings) -> None:
    """Write the files ``mtcnn_NAME.onnx``."""
    for name, (net, side_px) in zip(NETWORKS, load_networks(), strict=True):
        (settings.out / f"mtcnn_{name}.onnx").write_bytes(graph_of(net, side_px).SerializeToString())


def load_networks() -> list[tuple[nn.Module, int | None]]:
    """Load the networks of the package, with the side of their inputs; None: any."""
    folder = Path(facenet_pytorch.__file__).parent / "data"
    networks = ((PNet, "pnet", None), (RNet, "rnet", REFINEMENT_PX), (ONet, "onet", LANDMARKS_PX))
    loaded: list[tuple[nn.Module, int | None]] = []
    for network, name, side_px in networks:
        net = network(pretrained=False)
        net.load_state_dict(torch.load(folder / f"{name}.pt", map_location="cpu", weights_only=True))
        loaded.append((net.eval(), side_px))
    return loaded


def graph_of(net: nn.Module, side_px: int | None) -> onnx.ModelProto:
    """Return the graph of a network whose modules are in the order of their use.

    Its input ``image_NHWC`` is float32 pixels, 0 to 255. Its outputs are the probability of a face, the
    correction of the box and, for the third network, x and y of the landmarks as shares of the box.
    """
    graph = GraphBuilder()
    x = graph.add("Transpose", ["image_NHWC"], "image", perm=[0, 3, 1, 2])
    x = graph.add("Mul", [graph.add("Sub", [x, np.float32(127.5)], "centred"), np.float32(1 / 128)], "pixels")
    outputs: dict[str, Value] = {}
    is_dense = False
    for name, part in net.named_children():
        weights = [one.detach().numpy() for one in part.parameters()]
        if isinstance(part, nn.Linear) and not is_dense:
            columns = graph.add("Transpose", [x], f"{name}.columns", perm=[0, 3, 2, 1])
            x, is_dense = graph.add("Flatten", [columns], f"{name}.flat"), True
        if isinstance(part, nn.MaxPool2d):
            kernel, strides = [part.kernel_size] * 2, [part.stride] * 2
            x = graph.add("MaxPool", [x], name, kernel_shape=kernel, strides=strides, ceil_mode=1)
        elif isinstance(part, nn.PReLU):
            x = graph.add("PRelu", [x, weights[0] if is_dense else weights[0][:, None, None]], name)
        elif weights:
            attributes = {"transB": 1} if is_dense else {}
            layer = graph.add("Gemm" if is_dense else "Conv", [x, *weights], name, **attributes)
            if name in HEADS:
                _add_output(graph, HEADS[name], layer)
                outputs[HEADS[name]] = (FLOAT, SHAPES[HEADS[name]] + ([] if is_dense else ["H", "W"]))
            else:
                x = layer
    model = graph.model(type(net).__name__, {"image_NHWC": (FLOAT, ["N", side_px, side_px, 3])}, outputs)
    onnx.checker.check_model(model, full_check=True)
    return model


def _add_output(graph: GraphBuilder, meaning: str, x: str) -> None:
    if meaning == "probability":
        graph.add("Gather", [graph.add("Softmax", [x], "classes", axis=1), np.int64(1)], meaning, axis=1)
    elif meaning == "landmarks":
        graph.add("Reshape", [x, np.array([-1, 2, 5], np.int64)], meaning)
    else:
        graph.add("Identity", [x], meaning)


if __name__ == "__main__":
    main(tyro.cli(Settings))
