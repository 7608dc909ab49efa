"""Checkpoints with random weights, for tests that need a network but no true answers."""

from collections.abc import Mapping
from pathlib import Path

import torch

from models.checkpoint import CheckpointMeta, save_checkpoint
from models.diagnoses import DIAGNOSES, Group
from models.lesion.network import LesionNet
from models.lesion.runtimes import INT8_RUNTIMES
from models.preprocessing import MEAN, STD
from models.progress.network import LABELS, ProgressNet

LESION_THRESHOLDS = {"malignant": 0.5, "name_diagnosis": 0.1}


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
    passed = {"int8": {"engines": dict.fromkeys(INT8_RUNTIMES, True)}}
    meta = CheckpointMeta(
        kind="lesion",
        name="lesion-random",
        labels=tuple(known),
        groups=known,
        architecture=architecture,
        input_px=input_px,
        thresholds=LESION_THRESHOLDS if thresholds is None else thresholds,
        metrics=passed if int8_ranges else {},
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
        metrics={},
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
