"""Checkpoints with random weights, for tests that need a network but no trained one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from models.checkpoint import CheckpointMeta, save_checkpoint
from models.diagnoses import DIAGNOSES
from models.face.descriptor import BLOCKS, INPUT_PX, NUM_VALUES
from models.face.descriptor import MEAN as FACE_MEAN
from models.face.descriptor import STD as FACE_STD
from models.lesion.gate import LesionGate
from models.lesion.metrics import DiagnosisMetrics, Int8Metrics, LesionMetrics, RiskMetrics
from models.lesion.networks import NETWORK_CLASSES
from models.lesion.runtimes import INT8_RUNTIMES
from models.lesion.shapes import RESNET50, SMALL_NETWORK
from models.metrics import Metric, TaskMetrics
from models.normalization import MEAN, STD
from models.progress.network import LABELS, ProgressNet

SMALL_ARCHITECTURE = {"network": SMALL_NETWORK, "num_diagnoses": 2, "input_px": 64}
"""Of a lesion network whose weights have 14 MB instead of 94."""
LESION_THRESHOLDS = {"malignant": 0.5, "name_diagnosis": 0.1}


def int8_accepted(engines: dict[str, bool]) -> LesionMetrics:
    """Return metrics with the release's verdict on each int8 engine."""
    int8 = Int8Metrics(
        engine="onednn-int8",
        n=0,
        macro_auroc_difference=None,
        changed_share=0.0,
        balanced_accuracy_difference=Metric(),
        largest_difference=0.0,
        passed=any(engines.values()),
        engines=engines,
    )
    diagnosis = DiagnosisMetrics(balanced_accuracy=Metric(), recall={}, macro_auroc=Metric())
    risk = RiskMetrics(balanced_accuracy=Metric(), sensitivity=Metric(), specificity=Metric(), auroc=Metric())
    return LesionMetrics(n=0, diagnosis=diagnosis, risk=risk, int8=int8)


def random_meta(kind: str, **changes: object) -> CheckpointMeta:
    """Return the meta of a network with random weights; two diagnoses, 64 px, for a lesion network."""
    is_lesion = kind == "lesion"
    settings = {
        "kind": kind,
        "name": f"{kind}-random",
        "version": "0",
        "architecture": {"num_diagnoses": 2, "input_px": 64} if is_lesion else {},
        "labels": ("Nevus", "Melanoma") if is_lesion else LABELS,
        "groups": {"Nevus": "benign", "Melanoma": "malignant"} if is_lesion else {},
        "input_px": 64 if is_lesion else 80,
        "mean": MEAN,
        "std": STD,
        "thresholds": LESION_THRESHOLDS if is_lesion else {"improved": 0.5},
        "training": {},
        "training_data": "none: random weights",
        "data_fingerprint": "",
        "data_licence": "none",
    }
    return CheckpointMeta.model_validate(settings | changes)


def drawn_localizer() -> bytes:
    """Return ``localizer.onnx`` for drawn pictures.

    Lesions are the dark cells of the picture (mean colour below 110 of 255), skin is a picture that is more
    red than blue on average. The lesion output is the largest value of the map.
    """
    nodes = [
        helper.make_node("Transpose", ["image_BHWC"], ["bytes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["bytes"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("AveragePool", ["pixels"], ["cells"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("ReduceMean", ["cells"], ["grey_BHW"], axes=[1], keepdims=0),
        helper.make_node("Sub", ["dark", "grey_BHW"], ["darkness"]),
        helper.make_node("Mul", ["darkness", "slope"], ["lesion_logit"]),
        helper.make_node("Sigmoid", ["lesion_logit"], ["lesion_BHW"]),
        helper.make_node("ReduceMax", ["lesion_BHW"], ["lesion_B"], axes=[1, 2], keepdims=0),
        helper.make_node("ReduceMean", ["pixels"], ["colour_BC"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["colour_BC", "red_minus_blue"], ["redness"]),
        helper.make_node("Sub", ["redness", "skin_redness"], ["redness_above"]),
        helper.make_node("Mul", ["redness_above", "slope"], ["skin_logit"]),
        helper.make_node("Sigmoid", ["skin_logit"], ["skin_B1"]),
        helper.make_node("Unsqueeze", ["lesion_B", "column"], ["lesion_B1"]),
        helper.make_node("Concat", ["skin_B1", "lesion_B1"], ["gate_BG"], axis=1),
    ]
    constants = {
        "dark": np.float32(110),
        "slope": np.float32(0.25),
        "red_minus_blue": np.array([[1], [0], [-1]], np.float32),
        "skin_redness": np.float32(15),
        "column": np.array([1], np.int64),
    }
    graph = helper.make_graph(
        nodes,
        "localizer",
        [helper.make_tensor_value_info("image_BHWC", TensorProto.UINT8, ["B", 128, 128, 3])],
        [
            helper.make_tensor_value_info("lesion_BHW", TensorProto.FLOAT, ["B", 64, 64]),
            helper.make_tensor_value_info("gate_BG", TensorProto.FLOAT, ["B", 2]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def random_gate(**changes: object) -> LesionGate:
    """Return a gate that accepts every lesion that ``drawn_localizer`` finds; the hashes are empty."""
    settings = {
        "network_sha256": "",
        "localizer_sha256": "",
        "min_scope": 0.0,
        "min_skin": 0.5,
        "min_lesion": 0.5,
        "min_box_px": 8.0,
        "min_sharpness": 0.0,
        "false_rejections": {"drawn": Metric(value=0.02, low=0.01, high=0.04, n=500)},
    }
    return LesionGate.model_validate(settings | changes)


def write_lesion(
    folder: Path,
    *,
    input_px: int = 64,
    thresholds: dict[str, float] | None = None,
    int8_ranges: Mapping[str, tuple[float, float]] | None = None,
    scope_head: bool = False,
    gate: LesionGate | None = None,
    network: str | None = None,
) -> Path:
    """Write a lesion network with four diagnoses; returns the folder.

    Args:
        folder: of the checkpoint.
        input_px: side of the network's input.
        thresholds: of the checkpoint.
        int8_ranges: calibration ranges by activation.
        scope_head: add a scope head.
        gate: of ``random_gate``; its localizer is ``drawn_localizer``.
        network: one of ``models.lesion.shapes.NETWORKS``; by default the smallest one that has a scope head
            if needed.
    """
    torch.manual_seed(0)
    network = network or (RESNET50 if scope_head else SMALL_NETWORK)
    diagnoses = (*DIAGNOSES[:2], *DIAGNOSES[-2:])
    architecture: dict[str, Any] = {"num_diagnoses": len(diagnoses), "input_px": input_px}
    architecture |= {"scope_head": True} if scope_head else {}
    net = NETWORK_CLASSES[network](**architecture)
    meta = random_meta(
        "lesion",
        labels=tuple(one.name for one in diagnoses),
        groups={one.name: one.group for one in diagnoses},
        architecture=architecture | ({} if network == RESNET50 else {"network": network}),
        input_px=input_px,
        thresholds=LESION_THRESHOLDS if thresholds is None else thresholds,
        metrics=int8_accepted(dict.fromkeys(INT8_RUNTIMES, True)) if int8_ranges else TaskMetrics(),
        gate=None if gate is None else gate.model_dump(),
    )
    save_checkpoint(
        folder,
        net,
        meta,
        "# Random weights\n",
        int8_ranges=int8_ranges,
        localizer_onnx=None if gate is None else drawn_localizer(),
    )
    return folder


def write_progress(folder: Path, net: ProgressNet | None = None) -> Path:
    """Write a progress network; returns the folder."""
    torch.manual_seed(0)
    save_checkpoint(folder, net or ProgressNet(), random_meta("progress"), "# Random weights\n")
    return folder


def write_face_descriptor(folder: Path) -> Path:
    """Write a face descriptor; returns the folder."""
    torch.manual_seed(0)
    meta = random_meta(
        "face_descriptor",
        labels=(),
        input_px=INPUT_PX,
        mean=FACE_MEAN,
        std=FACE_STD,
        thresholds={"same_person": 0.6},
    )
    blocks = [
        nn.ModuleDict({"conv1": nn.Conv2d(before, after, 3), "conv2": nn.Conv2d(after, after, 3)})
        for before, after in BLOCKS
    ]
    net = nn.ModuleDict({"stem": nn.Conv2d(3, BLOCKS[0][0], 7), "blocks": nn.ModuleList(blocks)})
    net["head"] = nn.Linear(BLOCKS[-1][1], NUM_VALUES, bias=False)
    save_checkpoint(folder, net, meta, "# Random weights\n")
    return folder
