"""A trained progress network to a checkpoint folder, with the figures of the very weights in it.

Axes: B series, T photo.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from models.checkpoint import CheckpointMeta, save_checkpoint
from models.engine import ProgressEngine, load_progress_engine
from models.progress import LABELS
from models.transforms import MEAN, STD
from train.config import ProgressTraining, resolved
from train.data import Split
from train.metrics import progress_metrics
from train.release import bracketed
from train.sequences import ProgressSequence

IMPROVED_THRESHOLD = 0.5
SPLIT = "sequences drawn on people not seen in training"
PROGRESS_CARD = Path(__file__).with_name("progress_card.md")


def release_progress(
    net: nn.Module,
    config: ProgressTraining,
    split: Split,
    architecture: dict[str, Any],
    val_sequences: Sequence[ProgressSequence],
) -> Path:
    """Write ``config.run / "checkpoint"`` and return it.

    The weights are written first and measured as the server will run them: by the engine, after rounding.
    """
    folder = config.run / "checkpoint"
    meta = CheckpointMeta(
        kind="progress",
        name=config.name,
        version=config.version,
        architecture=architecture,
        labels=LABELS,
        groups={},
        input_px=config.input_px,
        mean=MEAN,
        std=STD,
        thresholds={"improved": IMPROVED_THRESHOLD},
        metrics={},
        training=resolved(config)
        | {
            "num_train": len(split.train),
            "num_val": len(split.val),
            "val_people": sorted({row.group for row in split.val}),
        },
        training_data=config.training_data,
        data_fingerprint=split.fingerprint,
        data_licence=config.data_licence,
    )
    save_checkpoint(folder, net, meta, model_card="")
    metrics = measure_progress(load_progress_engine(folder, device=config.device), val_sequences)
    meta = meta.model_copy(update={"metrics": {"split": SPLIT, **metrics}})
    save_checkpoint(folder, net, meta, progress_card(meta))
    return folder


def measure_progress(engine: ProgressEngine, sequences: Sequence[ProgressSequence]) -> dict[str, Any]:
    """Return the figures of an engine on sequences, each asked alone, as most requests are."""
    probability_B = [
        engine(sequence.photos_THWC[None], sequence.present_T[None]).improved_BT[0, -1]
        for sequence in sequences
    ]
    return progress_metrics(
        improved_B=np.array([int(sequence.improved) for sequence in sequences]),
        improved_probability_B=np.array(probability_B),
        num_photos_B=np.array([sequence.present_T.sum() for sequence in sequences]),
        person_B=np.array([sequence.person for sequence in sequences]),
    )


def progress_card(meta: CheckpointMeta) -> str:
    """Return the model card, Markdown."""
    metrics = meta.metrics
    by_photos = [
        f"| {name} photos with a face | {figures['n']} | {figures['value']:.2f} |"
        for name, figures in metrics["balanced_accuracy_by_photos"].items()
    ]
    return PROGRESS_CARD.read_text(encoding="utf-8").format(
        meta=meta,
        figures={
            name: bracketed(metrics[name]) for name in ("balanced_accuracy", "balanced_accuracy_over_people")
        },
        auroc=bracketed(metrics["auroc"]),
        recall={label: bracketed(figure) for label, figure in metrics["recall"].items()},
        by_photos="\n".join(by_photos),
    )
