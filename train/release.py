"""A trained network to a checkpoint folder, with the figures of the very weights that the folder holds.

Axes: B image, H row, W column, C colour, K diagnosis.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from models.checkpoint import CheckpointMeta, save_checkpoint
from models.engine import LesionEngine, load_lesion_engine
from models.taxonomy import find_diagnosis
from models.transforms import MEAN, STD
from train.config import LesionTraining, resolved
from train.data import LesionPhotos, Split
from train.metrics import lesion_metrics

NAME_DIAGNOSIS_THRESHOLD = 0.10
"""Below this a diagnosis is not named; SkinSense's rule."""
MALIGNANT_THRESHOLD = 0.5
LESION_CARD = Path(__file__).with_name("lesion_card.md")


def release_lesion(
    net: nn.Module,
    config: LesionTraining,
    split: Split,
    labels: tuple[str, ...],
    architecture: dict[str, Any],
) -> Path:
    """Write ``config.run / "checkpoint"`` and return it.

    The weights are written first and measured as the server will run them: by the engine, after rounding.
    """
    folder = config.run / "checkpoint"
    meta = CheckpointMeta(
        kind="lesion",
        name=config.name,
        version=config.version,
        architecture=architecture,
        labels=labels,
        groups={label: find_diagnosis(label).group for label in labels},
        input_px=config.input_px,
        mean=MEAN,
        std=STD,
        thresholds={"malignant": MALIGNANT_THRESHOLD, "name_diagnosis": NAME_DIAGNOSIS_THRESHOLD},
        metrics={},
        training=resolved(config) | {"num_train": len(split.train), "num_val": len(split.val)},
        training_data=config.training_data,
        data_fingerprint=split.fingerprint,
        data_licence=config.data_licence,
    )
    save_checkpoint(folder, net, meta, model_card="")
    photos = LesionPhotos(split.val, labels=labels, side_px=config.input_px)
    metrics = measure_lesion(load_lesion_engine(folder, device=config.device), photos)
    metrics = {"split": "validation, grouped by lesion, not seen in training", **metrics}
    meta = meta.model_copy(update={"metrics": metrics})
    save_checkpoint(folder, net, meta, lesion_card(meta, split))
    return folder


def measure_lesion(engine: LesionEngine, photos: LesionPhotos, *, batch_size: int = 64) -> dict[str, Any]:
    """Return the figures of an engine on photos decoded at its input size."""
    image_BHWC = photos.image_BHWC.numpy()
    outputs = [
        engine(image_BHWC[start : start + batch_size]) for start in range(0, len(image_BHWC), batch_size)
    ]
    return lesion_metrics(
        malignant_B=photos.malignant_B.numpy(),
        diagnosis_B=photos.diagnosis_B.numpy(),
        malignant_probability_B=np.concatenate([output.malignant_B for output in outputs]),
        probability_BK=np.concatenate([output.diagnosis_BK for output in outputs]),
        labels=engine.meta.labels,
        threshold=engine.meta.thresholds["malignant"],
    )


def lesion_card(meta: CheckpointMeta, split: Split) -> str:
    """Return the model card, Markdown."""
    diagnosis, risk = meta.metrics["diagnosis"], meta.metrics["risk"]
    counts = Counter(find_diagnosis(row.label).name for row in split.train)
    recalls = [
        f"| {label} | {meta.groups[label]} | {counts[label]} | {figures['n']} | {figures['value']:.2f} |"
        for label, figures in diagnosis["recall"].items()
    ]
    return LESION_CARD.read_text(encoding="utf-8").format(
        meta=meta,
        num_labels=len(meta.labels),
        malignant=", ".join(label for label in meta.labels if meta.groups[label] == "malignant"),
        diagnosis={name: bracketed(diagnosis[name]) for name in ("balanced_accuracy", "macro_auroc")},
        risk={name: bracketed(figure) for name, figure in risk.items()},
        recalls="\n".join(recalls),
    )


def bracketed(figure: dict[str, float]) -> str:
    """Return a figure with its interval, as ``0.47 [0.42, 0.52]``."""
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
