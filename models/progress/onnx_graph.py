"""Build the ONNX graph of a progress network from its weights; importable without torch.

It computes ``models.progress.network.ProgressNet``, from pixels to probabilities, each photo once.

Axes: N present photo of any series, T photo of a series, B series, H row, W column, C channel.
"""

import numpy as np
import onnx
from onnx import helper

from models.checkpoint import CheckpointMeta
from models.normalization import MEAN, STD
from models.onnx_graph import BOOL, FLOAT, INT64, UINT8, GraphBuilder, UsedWeights, Weights
from models.progress.skin_constants import (
    HEAD_GRID,
    LESION_WINDOWS_PX,
    NUM_CELLS,
    REFERENCE_QUANTILE,
    skin_mask,
    skin_share,
)

PHOTOS, FIRST, ROWS, IMPROVED = "photo_NHWC", "first_N", "row_TB", "improved_TB"
BATCH_NORM_EPSILON = 1e-5
"""Default of PyTorch, with which the networks are trained."""
ARCHITECTURE = {"input_px", "filters", "hidden", "dropout"}
"""Known keys."""


def progress_graph(weights: Weights, meta: CheckpointMeta) -> onnx.ModelProto:
    """Return the graph of a network.

    Its inputs are ``photo_NHWC``, uint8, the present photos of all series; ``first_N``, the position in N of
    the first photo of each photo's series; ``row_TB``, 1 + the position in N of each photo, 0 for an absent
    one. Its output is ``improved_TB``, the probability after each photo.

    Raises:
        ValueError: the architecture or a weight is unknown.
        KeyError: a weight is missing.
    """
    if unknown := set(meta.architecture) - ARCHITECTURE:
        raise ValueError(f"unknown architecture {', '.join(sorted(unknown))}")
    weights = UsedWeights(weights)
    graph = _ProgressGraph(weights, meta)
    cells = graph.add_change(graph.skin_features())
    filters = [len(weights[f"{layer}.state_gates.weight"]) // 4 for layer in ("first", "second")]
    state = graph.conv_lstm(cells, "first", filters[0], NUM_CELLS, is_packed=True)
    pooled = graph.pools(graph.normed(state, "first_norm"), NUM_CELLS, NUM_CELLS // 2, "first_pool")
    state = graph.conv_lstm(pooled, "second", filters[1], NUM_CELLS // 2, is_packed=False)
    pooled = graph.pools(graph.normed(state, "second_norm"), NUM_CELLS // 2, HEAD_GRID, "second_pool")
    graph.head(pooled)
    weights.check_all_used()
    side = meta.input_px
    return graph.model(
        meta.kind,
        {PHOTOS: (UINT8, ["N", side, side, 3]), FIRST: (INT64, ["N"]), ROWS: (INT64, ["T", "B"])},
        {IMPROVED: (FLOAT, ["T", "B"])},
    )


class _ProgressGraph(GraphBuilder):
    def __init__(self, weights: Weights, meta: CheckpointMeta) -> None:
        super().__init__()
        self._weights = weights
        self._meta = meta

    def skin_features(self) -> str:
        """Add ``models.progress.skin_features``: redness, then mean and maximum of lesions of two sizes."""
        side = self._meta.input_px
        redness = self.mean_filter(self.redness(), 3, "redness")
        lesions = [self.lesions(redness, window) for window in LESION_WINDOWS_PX]
        lesions = self.add("Mul", [self.add("Concat", lesions, "lesions", axis=1), np.float32(20)], "scaled")
        return self.add(
            "Concat", [self.level(redness), self.pools(lesions, side, NUM_CELLS, "lesion")], "cells", axis=1
        )

    def redness(self) -> str:
        """Add the logarithm of red over green and blue of each pixel."""
        own_mean, own_std, mean, std = (
            np.array(one, np.float32)[:, None, None] for one in (self._meta.mean, self._meta.std, MEAN, STD)
        )
        scale_C11 = std / (255 * own_std)
        shift_C11 = mean - own_mean * std / own_std
        x = self.add("Transpose", [PHOTOS], "photo_NCHW", perm=[0, 3, 1, 2])
        x = self.add("Mul", [self.add("Cast", [x], "bytes", to=FLOAT), scale_C11], "scaled_pixels")
        x = self.add("Relu", [self.add("Add", [x, shift_C11], "pixels")], "positive_pixels")
        x = self.add("Log", [self.add("Add", [x, np.float32(0.05)], "brightened")], "log_pixels")
        weights = np.array([1, -0.5, -0.5], np.float32).reshape(1, 3, 1, 1)
        return self.add("Conv", [x, weights], "raw_redness")

    def lesions(self, redness: str, window_px: int) -> str:
        """Add the redness above that of the window around each skin pixel."""
        around = self.mean_filter(redness, window_px, f"around_{window_px}")
        name = f"lesion_{window_px}"
        above = self.add("Sub", [redness, around], f"{name}.difference")
        above = self.add("Clip", [above, np.float32(0), np.float32(0.5)], f"{name}.clipped")
        return self.add("Mul", [above, skin_mask(self._meta.input_px)], name)

    def level(self, redness: str) -> str:
        """Add the redness of each cell above the reference of its face."""
        cell_HW = skin_share(self._meta.input_px)
        on_face_F = np.flatnonzero(cell_HW > 0.5)
        level = self.average_pool(redness, self._meta.input_px // NUM_CELLS, "level")
        flat = self.add("Reshape", [level, np.array([0, -1], np.int64)], "flat_level")
        on_face = self.add("Gather", [flat, on_face_F], "level_on_face", axis=1)
        rank = int(REFERENCE_QUANTILE * len(on_face_F))
        count = self.constant("num_lowest", np.array([rank + 1], np.int64))
        self.add_node(
            helper.make_node(
                "TopK", [on_face, count], ["lowest", "lowest_cells"], axis=1, largest=0, sorted=1
            )
        )
        reference = self.add("Gather", ["lowest", np.array([rank], np.int64)], "reference", axis=1)
        reference = self.add("Unsqueeze", [reference, np.array([2, 3], np.int64)], "reference_N111")
        above = self.add("Mul", [self.add("Sub", [level, reference], "above"), np.float32(5)], "above.scaled")
        above = self.add("Clip", [above, np.float32(-3), np.float32(3)], "above.clipped")
        return self.add("Mul", [above, cell_HW], "level_on_skin")

    def add_change(self, cells: str) -> str:
        """Append the change of redness and mean lesions since the first photo of the series."""
        channels = [np.array([one], np.int64) for one in (0, 1 + len(LESION_WINDOWS_PX), 1)]
        start, end, axis = channels
        means = self.add("Slice", [cells, start, end, axis], "means")
        blurred = self.mean_filter(means, 3, "blurred")
        first = self.add("Gather", [blurred, FIRST], "blurred_first", axis=0)
        return self.add("Concat", [cells, self.add("Sub", [blurred, first], "change")], "inputs", axis=1)

    def conv_lstm(self, x: str, layer: str, num_filters: int, side: int, *, is_packed: bool) -> str:
        """Add a ConvLSTM layer; return its state after each photo, (T x B, C, H, W).

        Args:
            x: its input, (N, C, H, W) if it ``is_packed``, else (T x B, C, H, W).
            layer: name in the weights.
            num_filters: channels of its state.
            side: of its maps.
            is_packed: the input has the present photos only.
        """
        parts = [self._weights[f"{layer}.input_gates.{name}"] for name in ("weight", "bias")]
        gates = self.add("Conv", [x, *parts], f"{layer}.gates", pads=[1] * 4)
        shape = (4 * num_filters, side, side)
        if is_packed:
            absent = np.zeros((1, *shape), np.float32)
            gates = self.add("Concat", [absent, gates], f"{layer}.gates_or_absent", axis=0)
            gates = self.add("Gather", [gates, ROWS], f"{layer}.gates_TB", axis=0)
        else:
            size = self.add("Shape", [ROWS], f"{layer}.size")
            size = self.add("Concat", [size, np.array(shape, np.int64)], f"{layer}.gates_size", axis=0)
            gates = self.add("Reshape", [gates, size], f"{layer}.gates_TB")
        present = self.add("Greater", [ROWS, np.int64(0)], f"{layer}.present_TB")
        present = self.add("Unsqueeze", [present, np.array([2, 3, 4], np.int64)], f"{layer}.present")
        num_series = self.add("Shape", [ROWS], f"{layer}.num_series", start=1)
        state_size = np.array([num_filters, side, side], np.int64)
        size = self.add("Concat", [num_series, state_size], f"{layer}.state_size", axis=0)
        zero = self.add("ConstantOfShape", [size], f"{layer}.zero")
        step = _lstm_step(self._weights[f"{layer}.state_gates.weight"])
        outputs = [f"{layer}.{name}" for name in ("last_hidden", "last_cell", "hidden_TB")]
        self.add_node(
            helper.make_node("Scan", [zero, zero, gates, present], outputs, body=step, num_scan_inputs=2)
        )
        shape = np.array([-1, num_filters, side, side], np.int64)
        return self.add("Reshape", [outputs[-1], shape], f"{layer}.hidden")

    def normed(self, x: str, norm: str) -> str:
        """Add a batch norm."""
        weight_C, bias_C, mean_C, variance_C = (
            self._weights[f"{norm}.norm.{name}"] for name in ("weight", "bias", "running_mean", "running_var")
        )
        scale_C = weight_C / np.sqrt(variance_C + BATCH_NORM_EPSILON)
        scaled = self.add("Mul", [x, scale_C[:, None, None]], f"{norm}.scaled")
        return self.add("Add", [scaled, (bias_C - mean_C * scale_C)[:, None, None]], norm)

    def head(self, pooled: str) -> None:
        """Add the dense layers and the probability, 0.5 before the first face."""
        dense = [[self._weights[f"head.{number}.{part}"] for part in ("weight", "bias")] for number in (1, 4)]
        x = self.add("Gemm", [self.add("Flatten", [pooled], "flat"), *dense[0]], "head.1", transB=1)
        x = self.add("Gemm", [self.add("Relu", [x], "head.2"), *dense[1]], "head.4", transB=1)
        x = self.add("Softmax", [x], "probability", axis=1)
        improved = np.int64(self._meta.labels.index("improved"))
        x = self.add("Gather", [x, improved], "improved", axis=1)
        x = self.add("Reshape", [x, self.add("Shape", [ROWS], "shape")], "improved_or_none")
        seen = self.add("CumSum", [ROWS, np.int64(0)], "seen_rows")
        seen = self.add("Greater", [seen, np.int64(0)], "seen")
        self.add("Where", [seen, x, np.float32(0.5)], IMPROVED)

    def mean_filter(self, x: str, side: int, name: str) -> str:
        """Add the mean of the window around each pixel, inside the map."""
        rows = self.add(
            "AveragePool",
            [x],
            f"{name}.rows",
            kernel_shape=[1, side],
            pads=[0, side // 2] * 2,
            count_include_pad=0,
        )
        return self.add(
            "AveragePool",
            [rows],
            name,
            kernel_shape=[side, 1],
            pads=[side // 2, 0] * 2,
            count_include_pad=0,
        )

    def average_pool(self, x: str, size: int, name: str) -> str:
        """Add average pooling of ``size`` x ``size`` pixels."""
        return self.add("AveragePool", [x], name, kernel_shape=[size] * 2, strides=[size] * 2)

    def pools(self, x: str, from_side: int, to_side: int, name: str) -> str:
        """Add average and maximum pooling, concatenated along the channels."""
        size = from_side // to_side
        average = self.average_pool(x, size, f"{name}.average")
        largest = self.add("MaxPool", [x], f"{name}.max", kernel_shape=[size] * 2, strides=[size] * 2)
        return self.add("Concat", [average, largest], f"{name}.pools", axis=1)


def _lstm_step(state_gates_OCHW: np.ndarray) -> onnx.GraphProto:
    """Return one step of a ConvLSTM, which keeps its state at an absent photo: the body of Scan."""
    step = GraphBuilder()
    of_state = step.add("Conv", ["hidden", state_gates_OCHW], "of_state", pads=[1] * 4)
    step.add("Add", ["gates", of_state], "all_gates")
    names = ["enter", "keep", "leave", "new"]
    step.add_node(helper.make_node("Split", ["all_gates"], names, axis=1))
    # + 1: forget-gate bias, as in models.progress.network
    kept = step.add("Sigmoid", [step.add("Add", ["keep", np.float32(1)], "keep_biased")], "kept_share")
    kept = step.add("Mul", [kept, "cell"], "kept")
    entered = step.add(
        "Mul", [step.add("Sigmoid", ["enter"], "share"), step.add("Tanh", ["new"], "tanh")], "in"
    )
    next_cell = step.add("Add", [kept, entered], "next_cell")
    left = step.add("Sigmoid", ["leave"], "left_share")
    next_hidden = step.add("Mul", [left, step.add("Tanh", [next_cell], "cell_tanh")], "next_hidden")
    step.add("Where", ["present", next_hidden, "hidden"], "hidden_out")
    step.add("Where", ["present", next_cell, "cell"], "cell_out")
    step.add("Identity", ["hidden_out"], "hidden_of_photo")
    shape = (FLOAT, ["B", "C", "H", "W"])
    return step.graph(
        "conv_lstm_step",
        {"hidden": shape, "cell": shape, "gates": shape, "present": (BOOL, ["B", 1, 1, 1])},
        {"hidden_out": shape, "cell_out": shape, "hidden_of_photo": shape},
    )
