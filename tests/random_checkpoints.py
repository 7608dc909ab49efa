"""Checkpoints with random weights, for tests that need a network but no trained one."""

from collections.abc import Mapping
from pathlib import Path

import torch

from models.checkpoint import CheckpointMeta, save_checkpoint
from models.diagnoses import DIAGNOSES
from models.lesion.metrics import DiagnosisMetrics, Int8Metrics, LesionMetrics, RiskMetrics
from models.lesion.network import LesionNet
from models.lesion.runtimes import INT8_RUNTIMES
from models.metrics import Metric, TaskMetrics
from models.preprocessing import MEAN, STD
from models.progress.network import LABELS, ProgressNet

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


def write_lesion(
    folder: Path,
    *,
    input_px: int = 64,
    thresholds: dict[str, float] | None = None,
    int8_ranges: Mapping[str, tuple[float, float]] | None = None,
) -> Path:
    """Write a lesion network with four diagnoses; returns the folder."""
    torch.manual_seed(0)
    diagnoses = (*DIAGNOSES[:2], *DIAGNOSES[-2:])
    architecture = {"num_diagnoses": len(diagnoses), "input_px": input_px}
    meta = random_meta(
        "lesion",
        labels=tuple(one.name for one in diagnoses),
        groups={one.name: one.group for one in diagnoses},
        architecture=architecture,
        input_px=input_px,
        thresholds=LESION_THRESHOLDS if thresholds is None else thresholds,
        metrics=int8_accepted(dict.fromkeys(INT8_RUNTIMES, True)) if int8_ranges else TaskMetrics(),
    )
    save_checkpoint(folder, LesionNet(**architecture), meta, "# Random weights\n", int8_ranges=int8_ranges)
    return folder


def write_progress(folder: Path, net: ProgressNet | None = None) -> Path:
    """Write a progress network; returns the folder."""
    torch.manual_seed(0)
    save_checkpoint(folder, net or ProgressNet(), random_meta("progress"), "# Random weights\n")
    return folder
