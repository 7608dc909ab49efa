"""Lesion checkpoints with random weights, for measurements that need speed but no meaningful answers."""

from pathlib import Path

import torch
from torch import nn

from models.checkpoint import CheckpointMeta, save_checkpoint
from models.diagnoses import DIAGNOSES
from models.lesion.metrics import DiagnosisMetrics, Int8Metrics, LesionMetrics, RiskMetrics
from models.lesion.network import LesionNet
from models.lesion.quantization.int8 import activation_names
from models.lesion.runtimes import INT8_RUNTIMES
from models.metrics import Metric
from models.normalization import MEAN, STD


def write_random_checkpoint(folder: Path, input_px: int = 224) -> Path:
    """Write a random lesion network with int8 calibration ranges; return the folder.

    The ranges are wide guesses: they change probabilities, not speed.
    """
    before_sum = (".conv3", ".shortcut")  # a ReLU follows the others
    ranges = {name: (-8.0 if name.endswith(before_sum) else 0.0, 8.0) for name in activation_names(input_px)}
    save_checkpoint(folder, random_net(input_px), random_meta(input_px), "", int8_ranges=ranges)
    return folder


def random_net(input_px: int) -> LesionNet:
    """Return a lesion network with seeded random weights in which every layer matters.

    A new ``LesionNet`` multiplies its residual branches by 0, which would hide wrong values in them.
    """
    torch.manual_seed(0)
    net = LesionNet(num_diagnoses=len(DIAGNOSES), input_px=input_px)
    for name, part in net.named_modules():
        if name.endswith("bn3"):
            nn.init.constant_(part.get_parameter("weight"), 0.2)
    return net


def random_meta(input_px: int) -> CheckpointMeta:
    """Return the metadata of a random lesion network; all int8 engines count as accepted."""
    return CheckpointMeta(
        kind="lesion",
        name="random",
        version="0",
        architecture={"num_diagnoses": len(DIAGNOSES), "input_px": input_px},
        labels=tuple(one.name for one in DIAGNOSES),
        groups={one.name: one.group for one in DIAGNOSES},
        input_px=input_px,
        mean=MEAN,
        std=STD,
        thresholds={"malignant": 0.5, "name_diagnosis": 0.1},
        metrics=_accepted_int8(),
        training={},
        training_data="none: random weights",
        data_fingerprint="",
        data_licence="none",
    )


def _accepted_int8() -> LesionMetrics:
    undefined = Metric()
    return LesionMetrics(
        n=0,
        diagnosis=DiagnosisMetrics(balanced_accuracy=undefined, recall={}, macro_auroc=undefined),
        risk=RiskMetrics(
            balanced_accuracy=undefined, sensitivity=undefined, specificity=undefined, auroc=undefined
        ),
        int8=Int8Metrics(
            engine=INT8_RUNTIMES[0],
            n=0,
            macro_auroc_difference=None,
            changed_share=0.0,
            balanced_accuracy_difference=undefined,
            largest_difference=0.0,
            passed=True,
            engines=dict.fromkeys(INT8_RUNTIMES, True),
        ),
    )
