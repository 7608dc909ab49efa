"""Release the small lesion network of this recipe as a checkpoint that the server loads.

``python -m train.gpu_recipe.release_small --lesions DIR --faces DIR --localizer ONNX --weights FILE --out X``
calibrates on crops of the validation photos, chooses the thresholds, fits the gate and writes the checkpoint.
The network has no scope head: its gate is the localizer alone. It then evaluates the whole pipeline on the
test set with the serving engine. Without ``--weights`` it evaluates the checkpoint in ``--out`` again.
"""

import argparse
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from models.checkpoint import CARD, META, CheckpointMeta, save_gate
from models.diagnoses import find_diagnosis
from models.lesion.engine_loader import load_lesion_engine
from models.lesion.gate import gate_of
from models.lesion.localizer import Localizer
from models.lesion.metrics import Int8Metrics, LesionMetrics
from models.lesion.shapes import SMALL_NETWORK
from models.lesion.small_network import SmallLesionNet
from train.data.manifest import fingerprint_of
from train.data.split import Split
from train.gpu_recipe.evaluate import lesion_pictures, other_pictures
from train.gpu_recipe.measure import DIAGNOSES
from train.gpu_recipe.model_card import source_table, verdict_table
from train.gpu_recipe.release import (
    LICENCE,
    RANKING_EXPONENT,
    TOGETHER,
    RecipeData,
    open_localizer,
    read_parts,
    source_metrics,
)
from train.lesion.config import LesionTraining
from train.lesion.gate_calibration import fit_gate
from train.lesion.pipeline import run_pipeline
from train.lesion.release import CropRelease, release_lesion
from train.lesion.verdict_metrics import VerdictRule, verdict_metrics_by_source, verdicts_without_lesion
from train.task import TrainedRun

SECTIONS = Path(__file__).with_name("model_card_small.md")
DESCRIPTION = (
    "1.8 times as fast on a CPU and less accurate; for many photos that are known to show one lesion each"
)
TRAINING_DATA = "HAM10000, MSK and UDA of ISIC, ISIC 2020, PAD-UFES-20"

log = logging.getLogger(__name__)


def release(weights: Path, data: RecipeData, out: Path, *, input_px: int, version: str) -> None:
    """Calibrate the trained network, fit its gate and write the checkpoint.

    Raises:
        ReleaseError: the outputs of the checkpoint differ from those of the network.
    """
    parts = read_parts(data.lesions, data.split)
    train, val = tuple(parts["train"]), tuple(parts["val"])
    labels = tuple(find_diagnosis(code).name for code in DIAGNOSES)
    arguments: dict[str, Any] = {"num_diagnoses": len(labels), "input_px": input_px, "dropout": 0.2}
    net = SmallLesionNet(**arguments)
    net.load_state_dict({name: value.float() for name, value in load_file(weights).items()})
    config = LesionTraining(
        name="lesion-small",
        version=version,
        input_px=input_px,
        start_px=input_px,
        ranking_exponent=RANKING_EXPONENT,
        cache="",
        data_licence=LICENCE,
        training_data=TRAINING_DATA,
    )
    run = TrainedRun(
        config=config,
        net=net.to(memory_format=torch.channels_last).eval(),
        split=Split(train=train, val=val, fingerprint=fingerprint_of(train, val)),
        architecture={"network": SMALL_NETWORK, **arguments},
        labels=labels,
        notes={},
    )
    localizer = open_localizer(data.localizer)
    crops = CropRelease(localizer=localizer, source_of=lambda row: Path(row.image).parent.name)
    release_lesion(run, out, crops)
    outputs = list(
        run_pipeline(load_lesion_engine(out), localizer, lesion_pictures(data.lesions, data.split, "val"))
    )
    meta = save_gate(out, fit_gate(outputs).model_dump(), data.localizer.read_bytes())
    assert isinstance(meta.metrics, LesionMetrics)
    metrics = meta.metrics.model_copy(update={"by_source": source_metrics(outputs, meta)})
    training = {
        "recipe": "train.gpu_recipe",
        "init": "ImageNet weights of EfficientNet-Lite0, then distilled from weights/lesion version 4",
        "ranking_exponent": RANKING_EXPONENT,
        "num_train": len(train),
        "num_val": len(val),
        "train_px": 192,
        "photos": 193536,
    }
    _write(out, meta.model_copy(update={"training": training, "metrics": metrics}))


def evaluate(data: RecipeData, out: Path) -> None:
    """Add the metrics of the whole pipeline on the test set to the checkpoint."""
    engine = load_lesion_engine(out)
    meta = engine.meta
    gate = gate_of(meta)
    assert gate is not None and isinstance(meta.metrics, LesionMetrics)
    rule = VerdictRule(gate=gate, benign=meta.thresholds["benign"], malignant=meta.thresholds["malignant"])
    localizer = Localizer(out, gate)
    lesions = list(run_pipeline(engine, localizer, lesion_pictures(data.lesions, data.split, "test")))
    without = list(
        run_pipeline(engine, localizer, other_pictures(data.lesions, data.faces, data.split, "test"))
    )
    log.info("%d lesion photos, %d pictures without a lesion", len(lesions), len(without))
    metrics = meta.metrics.model_copy(
        update={
            "test_by_source": source_metrics(lesions, meta),
            "verdicts": verdict_metrics_by_source(lesions, rule, TOGETHER),
            "verdicts_without_lesion": verdicts_without_lesion(without, rule),
        }
    )
    _write(out, meta.model_copy(update={"metrics": metrics}))


def small_card(meta: CheckpointMeta, metrics: LesionMetrics) -> str:
    """Return the model card, Markdown."""
    gate = gate_of(meta)
    assert gate is not None
    int8 = metrics.int8
    return SECTIONS.read_text(encoding="utf-8").format(
        version=meta.version,
        side=meta.input_px,
        gate=gate,
        licence=meta.data_licence,
        benign=meta.thresholds["benign"],
        malignant=meta.thresholds["malignant"],
        bound_benign=metrics.error_bounds["called_benign"],
        bound_malignant=metrics.error_bounds["called_malignant"],
        int8="On a CPU it computes in float32" if int8 is None else _int8(int8),
        verdicts=verdict_table(metrics.verdicts),
        without_lesion="\n".join(
            f"| {name} | {one.n} | {one.with_interval()} |"
            for name, one in metrics.verdicts_without_lesion.items()
        ),
        rejected="\n".join(
            f"| {name} | {one.n} | {one.with_interval()} |" for name, one in gate.false_rejections.items()
        ),
        by_source=source_table(metrics.by_source),
        test_by_source=source_table(metrics.test_by_source),
    )


def _int8(int8: Int8Metrics) -> str:
    diagnoses, verdicts = int8.changed_share, int8.changed_verdicts["all"]
    cost = f"{diagnoses:.1%} of the first diagnoses and {verdicts:.1%} of the\nverdicts on the validation set"
    if int8.passed:
        return f"On a CPU with AVX-512 VNNI it computes in int8, which changes {cost}"
    return f"On a CPU it computes in float32. int8 was rejected: it changes {cost}"


def _write(folder: Path, meta: CheckpointMeta) -> None:
    meta = meta.model_copy(update={"description": DESCRIPTION})
    assert isinstance(meta.metrics, LesionMetrics)
    (folder / META).write_text(meta.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (folder / CARD).write_text(small_card(meta, meta.metrics), encoding="utf-8")


def main() -> None:
    """Release or evaluate a checkpoint."""
    parser = argparse.ArgumentParser(prog="python -m train.gpu_recipe.release_small", description=__doc__)
    parser.add_argument("--lesions", type=Path, required=True, help="folder with lesions.csv and photos")
    parser.add_argument("--faces", type=Path, required=True, help="folder with people/ and not_faces/")
    parser.add_argument("--split", type=Path, default=Path(__file__).with_name("split.csv"))
    parser.add_argument("--localizer", type=Path, required=True, help="localizer.onnx")
    parser.add_argument("--weights", type=Path, help="lesion-small.safetensors of the run, not calibrated")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder")
    parser.add_argument("--input-px", type=int, default=128)
    parser.add_argument("--version", default="2")
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
    evaluate(data, arguments.out)


if __name__ == "__main__":
    main()
