"""Face descriptors: 128 numbers of a face that are close to each other for photos of one person.

They are personal data: compute them in memory, compare them within one request, never store or log them.

Axes: B face, H row, W column, C colour, D number of a descriptor, O output channel.

Source: dlib's face recognition network (King 2017), a ResNet after He et al. 2016, arXiv:1512.03385; weights
of the npm package @vladmandic/face-api (docs/decisions/0025-same-person.md).
"""

from pathlib import Path

import numpy as np
import onnx

from models.checkpoint import CheckpointError, CheckpointMeta, load_arrays, read_meta_of_kind
from models.face.detector import FaceLocation, crop_aligned
from models.onnx_graph import FLOAT, UINT8, GraphBuilder, UsedWeights, Weights
from models.onnx_session import cpu_session
from models.ping import check_finite

KIND = "face_descriptor"
INPUT_PX = 150
NUM_VALUES = 128
CROP_CENTRE_Y = 0.55
"""Of the crop in face coordinates; lower than that of the progress network, which needs the forehead."""
MEAN = (122.782 / 255, 117.001 / 255, 104.298 / 255)
STD = (1.0, 1.0, 1.0)
BLOCKS = (
    *((32, 32),) * 3,
    (32, 64),
    *((64, 64),) * 3,
    (64, 128),
    *((128, 128),) * 2,
    (128, 256),
    *((256, 256),) * 2,
    (256, 256),
)
"""Input and output channels of each residual block."""
REDUCING_BLOCKS = (3, 7, 10, 13)
"""Blocks that halve height and width."""
SIDE_AFTER_STEM = 35
FACES, DESCRIPTORS = "face_BHWC", "descriptor_BD"


class FaceDescriptor:
    """Compute descriptors of aligned faces through ONNX Runtime; several threads may call it at once.

    Raises:
        CheckpointError: the weights do not fit the network.
    """

    def __init__(self, meta: CheckpointMeta, weights: Weights) -> None:
        self.meta = meta
        self.max_distance = meta.thresholds["same_person"]
        try:
            self._session = cpu_session(descriptor_graph(weights, meta).SerializeToString(), num_threads=1)
            self.ping()  # ONNX Runtime checks some shapes when it computes
        except Exception as error:  # a weight is missing, unknown or has another shape
            raise CheckpointError(
                f"checkpoint {meta.name} {meta.version} does not fit the face descriptor ({error!r}); "
                "convert it again with python -m scripts.convert_face_descriptor"
            ) from error

    def __call__(self, face_BHWC: np.ndarray) -> np.ndarray:
        """Return descriptors, float32 (B, 128); faces of one person are at most ``max_distance`` apart.

        Args:
            face_BHWC: uint8, crops of ``crop_for_descriptor``.
        """
        if face_BHWC.shape[1:] != (INPUT_PX, INPUT_PX, 3) or face_BHWC.dtype != np.uint8:
            raise ValueError(
                f"got {face_BHWC.dtype} {face_BHWC.shape}, need uint8 (B, {INPUT_PX}, {INPUT_PX}, 3)"
            )
        return np.asarray(self._session.run(None, {FACES: face_BHWC})[0])

    def ping(self) -> None:
        """Describe a blank face; raise if the result is not finite."""
        check_finite(self(np.full((1, INPUT_PX, INPUT_PX, 3), 127, np.uint8)))


def descriptor_graph(weights: Weights, meta: CheckpointMeta) -> onnx.ModelProto:
    """Return the network: residual blocks whose normalisation is part of their weights.

    A block that halves the maps has no weights in its shortcut, which pools and adds empty channels.
    """
    weights = UsedWeights(weights)
    graph = GraphBuilder()
    mean, std = (255 * np.array(one, np.float32)[:, None, None] for one in (meta.mean, meta.std))

    def convolve(x: str, name: str, *, stride: int = 1, padding: int = 0) -> str:
        parts = [weights[f"{name}.weight"], weights[f"{name}.bias"]]
        return graph.add("Conv", [x, *parts], name, strides=[stride] * 2, pads=[padding] * 4)

    def add_block(x: str, number: int, side: int) -> tuple[str, int]:
        name, reduces = f"blocks.{number}", number in REDUCING_BLOCKS
        stride, padding = (2, 0) if reduces else (1, 1)
        state = graph.add(
            "Relu", [convolve(x, f"{name}.conv1", stride=stride, padding=padding)], f"{name}.relu"
        )
        state = convolve(state, f"{name}.conv2", padding=1)
        if reduces:
            x = graph.add("AveragePool", [x], f"{name}.pool", kernel_shape=[2, 2], strides=[2, 2])
            num_inputs, num_outputs = BLOCKS[number]
            missing = side // 2 - ((side - 3) // 2 + 1)
            state = graph.add("Pad", [state, np.array([0] * 6 + [missing] * 2)], f"{name}.state")
            empty = np.array([0] * 5 + [num_outputs - num_inputs, 0, 0])
            x = graph.add("Pad", [x, empty], f"{name}.shortcut")
            side //= 2
        return graph.add("Relu", [graph.add("Add", [state, x], f"{name}.sum")], name), side

    x = graph.add("Transpose", [FACES], "face_BCHW", perm=[0, 3, 1, 2])
    x = graph.add("Sub", [graph.add("Cast", [x], "pixels", to=FLOAT), mean], "centred")
    x = graph.add("Relu", [convolve(graph.add("Div", [x, std], "normalised"), "stem", stride=2)], "stem.relu")
    x = graph.add("MaxPool", [x], "stem.pool", kernel_shape=[3, 3], strides=[2, 2])
    side = SIDE_AFTER_STEM
    for number in range(len(BLOCKS)):
        x, side = add_block(x, number, side)
    x = graph.add("ReduceMean", [x], "pooled", axes=[2, 3], keepdims=0)
    graph.add("MatMul", [x, np.ascontiguousarray(weights["head.weight"].T)], DESCRIPTORS)
    weights.check_all_used()
    return graph.model(
        meta.kind,
        {FACES: (UINT8, ["B", INPUT_PX, INPUT_PX, 3])},
        {DESCRIPTORS: (FLOAT, ["B", NUM_VALUES])},
    )


def load_face_descriptor(folder: Path) -> FaceDescriptor:
    """Load a face descriptor.

    Raises:
        CheckpointError: ``folder`` is no face descriptor of this format version, or is damaged.
    """
    meta = read_meta_of_kind(folder, KIND)
    if "same_person" not in meta.thresholds:
        raise CheckpointError(
            f"{folder} has no threshold 'same_person'; convert it again with python -m "
            "scripts.convert_face_descriptor"
        )
    return FaceDescriptor(meta, dequantized(load_arrays(folder, meta)))


def dequantized(stored: Weights) -> dict[str, np.ndarray]:
    """Convert stored weights to those of the network.

    A kernel ``name.weight`` of integers has ``name.scale`` and ``name.offset``, one for each output channel:
    the weight is integer x scale + offset. Kernels without them are used as they are.
    """
    weights = {name: array for name, array in stored.items() if name.endswith((".weight", ".bias"))}
    for name, scale_O in stored.items():
        if name.endswith(".scale"):
            layer = name.removesuffix(".scale")
            kernel = stored[f"{layer}.weight"].astype(np.float32)
            shape = (-1, *[1] * (kernel.ndim - 1))
            weights[f"{layer}.weight"] = kernel * scale_O.reshape(shape) + stored[f"{layer}.offset"].reshape(
                shape
            )
    return weights


def crop_for_descriptor(image_HWC: np.ndarray, found: FaceLocation) -> np.ndarray:
    """Crop a face as the descriptor needs it: uint8 (INPUT_PX, INPUT_PX, 3), from forehead to chin.

    Args:
        image_HWC: uint8 RGB.
        found: the face in it, by MTCNN.
    """
    return crop_aligned(image_HWC, found, size_px=INPUT_PX, centre_y=CROP_CENTRE_Y)
