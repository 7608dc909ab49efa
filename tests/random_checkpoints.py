"""Checkpoints with random weights, for tests that need a network but no true answers."""

from collections.abc import Mapping
from pathlib import Path

import torch

from models.checkpoint import CheckpointMeta, save_checkpoint
from models.diagnoses import DIAGNOSES, Group
from models.lesion.metrics import DiagnosisMetrics, Int8Metrics, LesionMetrics, RiskMetrics
from models.lesion.network import LesionNet
from models.lesion.runtimes import INT8_RUNTIMES
from models.metrics import Metric, TaskMetrics
from models.preprocessing import MEAN, STD
from models.progress.network import LABELS, ProgressNet

LESION_THRESHOLDS = {"malignant": 0.5, "name_diagnosis": 0.1}


def int8_accepted(engines: dict[str, bool]) -> LesionMetrics:
    """Return metrics in which these int8 engines passed or did not."""
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


def write_lesion(
    folder: Path,
    *,
    input_px: int = 64,
    thresholds: dict[str, float] | None = None,
    int8_ranges: Mapping[str, tuple[float, float]] | None = None,
) -> Path:
    """Write a lesion network that knows four diagnoses; returns the folder."""
    torch.manual_seed(0)
    known: dict[str, Group] = {
        diagnosis.name: diagnosis.group for diagnosis in (*DIAGNOSES[:2], *DIAGNOSES[-2:])
    }
    architecture = {"num_diagnoses": len(known), "input_px": input_px}
    meta = CheckpointMeta(
        kind="lesion",
        name="lesion-random",
        labels=tuple(known),
        groups=known,
        architecture=architecture,
        input_px=input_px,
        thresholds=LESION_THRESHOLDS if thresholds is None else thresholds,
        metrics=int8_accepted(dict.fromkeys(INT8_RUNTIMES, True)) if int8_ranges else TaskMetrics(),
        **_NOTHING_KNOWN,
    )
    net = LesionNet(**architecture)
    save_checkpoint(folder, net, meta, "# Random weights\n", int8_ranges=int8_ranges)
    return folder


def write_progress(folder: Path, net: ProgressNet | None = None) -> Path:
    """Write a progress network; returns the folder."""
    torch.manual_seed(0)
    meta = CheckpointMeta(
        kind="progress",
        name="progress-random",
        labels=LABELS,
        groups={},
        architecture={},
        input_px=80,
        thresholds={"improved": 0.5},
        **_NOTHING_KNOWN,
    )
    save_checkpoint(folder, net or ProgressNet(), meta, "# Random weights\n")
    return folder


_NOTHING_KNOWN = {
    "version": "0",
    "mean": MEAN,
    "std": STD,
    "training": {},
    "training_data": "none: random weights",
    "data_fingerprint": "",
    "data_licence": "none",
}
