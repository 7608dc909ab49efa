"""A trained lesion network, or one of each fold, to a checkpoint folder with calibrated heads.

Axes: B photo, H row, W column, C colour, K diagnosis, R risk group.
"""

import hashlib
import logging
import os
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from models.checkpoint import INT8, CheckpointMeta, save_checkpoint, unwrap
from models.diagnoses import find_diagnosis
from models.errors import SkinserveError
from models.lesion.engine_loader import load_lesion_engine, supported_int8_runtimes
from models.lesion.engines import LesionEngine, LesionOutput
from models.lesion.network import LesionEnsemble, LesionNet
from models.lesion.quantization.int8 import CalibrationRanges
from models.preprocessing import MEAN, STD
from models.storage import is_remote
from train.config import LesionTraining, resolved
from train.data.manifest import Row
from train.data.split import Split
from train.lesion.calibration import (
    Calibration,
    Judged,
    calibration_metrics,
    fit_calibration,
    fold_in,
    threshold_for,
)
from train.lesion.calibration_ranges import NUM_PHOTOS, compare, measure_ranges
from train.lesion.dataset import LesionPhotos
from train.lesion.model_card import lesion_card
from train.lesion.predictions import answers_of, batches_of, judge
from train.metrics import lesion_metrics

NAME_DIAGNOSIS_THRESHOLD = 0.10
"""Below this a diagnosis is not named; SkinSense's rule."""
MALIGNANT_THRESHOLD = 0.5
MAX_DIFFERENCE = 0.01
"""In probability, between the trained network and the checkpoint that is served."""
VALIDATION = "validation: patients and lesions that were not seen in training"
OUT_OF_FOLD = (
    "out of fold: every photo is judged by the one member that did not learn from it. All members together, "
    "which is what answers, cannot be judged on these photos"
)

log = logging.getLogger(__name__)

FoldFigures = dict[str, float]
"""Figures of one fold by name."""


class ReleaseError(SkinserveError):
    """A network that cannot be released as it is; nothing was written over."""


def release_lesion(
    net: nn.Module,
    config: LesionTraining,
    split: Split,
    labels: tuple[str, ...],
    architecture: dict[str, Any],
    notes: Mapping[str, Any],
    *,
    folder: Path | None = None,
) -> Path:
    """Calibrate a network on validation, write its checkpoint and return the folder.

    The figures are those of the written weights, by the engine that is the reference. The checkpoint may be
    served in 8 bits (``int8.json``) if that costs little on validation; ``metrics.int8`` says what it costs.

    Args:
        notes: of the manifest: ``licence``, ``training_data`` and ``indeterminate``, where it has them.
        folder: where to; ``checkpoint`` in the folder of the run if not given.

    Raises:
        ReleaseError: the checkpoint does not answer as the network does.
    """
    net = _lesion_net(net)
    photos = _photos(config, split.val, labels)
    judged = _judged(net, photos)
    calibration = fit_calibration(judged)
    meta = _meta(config, labels, architecture, notes, (split.train, split.val), split.fingerprint)
    meta = _with_threshold(meta, config, judged, calibration)

    def figures(engine: LesionEngine) -> dict[str, Any]:
        answers = answers_of(engine, batches_of(photos))
        difference = _difference(answers, judged, calibration)
        return {
            "split": VALIDATION,
            **_metrics_of(answers, judged, meta),
            "calibration": calibration_metrics(judged, calibration),
            "largest_difference_from_training": difference,
        }

    calibrated = fold_in(net, calibration)
    some = random.Random(config.seed).sample(split.train, min(NUM_PHOTOS, len(split.train)))
    ranges = measure_ranges(calibrated, _photos(replace(config, cache=""), some, labels))
    rounded = Rounded(ranges=ranges, photos=photos, judged=judged)
    return _write(calibrated, meta, figures, split.train, _folder(config, folder), rounded)


def release_ensemble(
    nets: Sequence[nn.Module],
    config: LesionTraining,
    folds: Sequence[Split],
    labels: tuple[str, ...],
    architecture: dict[str, Any],
    notes: Mapping[str, Any],
    *,
    folder: Path | None = None,
) -> tuple[Path, list[FoldFigures]]:
    """Write the networks of all folds as one checkpoint; return its folder and the figures of each fold.

    One calibration for all members is fitted, on every photo's logits by the member that did not learn from
    it.

    Args:
        folds: the split that each network was trained on, in their order.

    Raises:
        ReleaseError: the checkpoint does not answer as the networks do.
    """
    members = [_lesion_net(net) for net in nets]
    parts = [
        _judged(net, _photos(config, fold.val, labels)) for net, fold in zip(members, folds, strict=True)
    ]
    judged = _joined(parts)
    calibration = fit_calibration(judged)
    architecture = {"num_members": len(members), **architecture}
    ensemble = LesionEnsemble(**architecture)
    for own, member in zip(ensemble.members, members, strict=True):
        own.load_state_dict(member.state_dict())
    ensemble.to(next(members[0].parameters()).device).eval()
    rows = [*folds[0].train, *folds[0].val]
    fingerprint = hashlib.sha256("".join(sorted(fold.fingerprint for fold in folds)).encode()).hexdigest()
    meta = _meta(config, labels, architecture, notes, (rows, rows), fingerprint)
    meta = _with_threshold(meta, config, judged, calibration)
    fold_figures = [_fold_figures(part, calibration, meta) for part in parts]

    def figures(engine: LesionEngine) -> dict[str, Any]:
        some = _photos(config, folds[0].val, labels)
        together = _judged(ensemble, some)
        difference = _difference(answers_of(engine, batches_of(some)), together, calibration)
        return {
            "split": OUT_OF_FOLD,
            **_metrics_of(_calibrated(judged, calibration), judged, meta),
            "folds": {str(number): one for number, one in enumerate(fold_figures, start=1)},
            "calibration": calibration_metrics(judged, calibration),
            "largest_difference_from_training": difference,
        }

    path = _write(fold_in(ensemble, calibration), meta, figures, rows, _folder(config, folder))
    return path, fold_figures


@dataclass(frozen=True, kw_only=True)
class Rounded:
    """A network in 8 bits, and the photos that decide whether it is good enough."""

    ranges: CalibrationRanges
    photos: LesionPhotos
    judged: Judged


def _write(
    net: LesionNet | LesionEnsemble,
    meta: CheckpointMeta,
    measure: Callable[[LesionEngine], dict[str, Any]],
    train_rows: Sequence[Row],
    folder: Path,
    rounded: Rounded | None = None,
) -> Path:
    """Write and load the checkpoint beside ``folder``, measure it, and only then put it there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    device = str(next(net.parameters()).device)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".release-") as name:
        scratch = Path(name)
        ranges = None if rounded is None else rounded.ranges
        save_checkpoint(scratch, net, meta, model_card="", int8_ranges=ranges)
        reference = load_lesion_engine(scratch, device=device, engine="pytorch")
        metrics = measure(reference)
        if rounded is None:
            log.info("8 bits are not released for an ensemble: all of its photos were learned from")
        else:
            metrics["int8"] = _int8_figures(scratch, reference, rounded)
            ranges = ranges if metrics["int8"]["passed"] else None
        meta = meta.model_copy(update={"metrics": metrics})
        save_checkpoint(scratch, net, meta, lesion_card(meta, train_rows), int8_ranges=ranges)
        folder.mkdir(exist_ok=True)
        if ranges is None:
            (folder / INT8).unlink(missing_ok=True)
        for path in scratch.iterdir():
            os.replace(path, folder / path.name)
    return folder


def _int8_figures(folder: Path, reference: LesionEngine, rounded: Rounded) -> dict[str, Any]:
    """What 8 bits cost by every engine that this machine can run; the worst is what counts.

    ``engines`` says of each whether it passed; on a machine with others they are not taken unasked.
    """
    exact = answers_of(reference, batches_of(rounded.photos))
    figures: list[dict[str, Any]] = []
    for runtime in supported_int8_runtimes():
        engine = load_lesion_engine(folder, engine=runtime)
        cost = compare(answers_of(engine, batches_of(rounded.photos)), exact, rounded.judged)
        log.info(
            "8 bits by %s: macro AUROC %+.4f, %.1f%% of first diagnoses changed, n = %d: %s",
            runtime,
            cost["macro_auroc_difference"] or 0,
            100 * cost["changed_share"],
            cost["n"],
            "released" if cost["passed"] else "too much, the checkpoint is served in float32",
        )
        figures.append({"engine": runtime, **cost})
    worst = min(figures, key=lambda cost: (cost["passed"], -cost["changed_share"]))
    return worst | {"engines": {cost["engine"]: cost["passed"] for cost in figures}}


def _meta(
    config: LesionTraining,
    labels: tuple[str, ...],
    architecture: dict[str, Any],
    notes: Mapping[str, Any],
    rows: tuple[Sequence[Row], Sequence[Row]],
    fingerprint: str,
) -> CheckpointMeta:
    train_rows, val_rows = rows
    names = ("format", "indeterminate", "examples_per_step", "start")
    said = {name: notes[name] for name in names if notes.get(name)}
    return CheckpointMeta(
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
        training=resolved(config) | {"num_train": len(train_rows), "num_val": len(val_rows)} | said,
        training_data=config.training_data or str(notes.get("training_data") or "not stated"),
        data_fingerprint=fingerprint,
        data_licence=config.data_licence or str(notes.get("licence") or "not stated"),
    )


def _with_threshold(
    meta: CheckpointMeta, config: LesionTraining, judged: Judged, how: Calibration
) -> CheckpointMeta:
    if config.min_sensitivity is None:
        return meta
    threshold = threshold_for(
        config.min_sensitivity,
        how.malignant_probability(judged.risk_BR),
        judged.malignant_B,
        judged.group_B,
    )
    return meta.model_copy(update={"thresholds": meta.thresholds | {"malignant": threshold}})


def _metrics_of(answers: LesionOutput, judged: Judged, meta: CheckpointMeta) -> dict[str, Any]:
    return lesion_metrics(
        malignant_B=judged.malignant_B,
        diagnosis_B=judged.truth_B,
        malignant_probability_B=answers.malignant_B,
        probability_BK=answers.diagnosis_BK,
        labels=meta.labels,
        threshold=meta.thresholds["malignant"],
        group_B=judged.group_B,
    )


def _calibrated(judged: Judged, calibration: Calibration) -> LesionOutput:
    return LesionOutput(
        malignant_B=calibration.malignant_probability(judged.risk_BR),
        diagnosis_BK=calibration.diagnosis_probability(judged.diagnosis_BK),
    )


def _difference(answers: LesionOutput, judged: Judged, calibration: Calibration) -> float:
    """The largest difference between what is served and what was trained; too large a one is refused."""
    expected = _calibrated(judged, calibration)
    risk_B = np.abs(answers.malignant_B - expected.malignant_B)
    diagnosis_BK = np.abs(answers.diagnosis_BK - expected.diagnosis_BK)
    difference = float(np.maximum(risk_B.max(), diagnosis_BK.max()))
    if not difference <= MAX_DIFFERENCE:  # also where it is not a number
        raise ReleaseError(
            f"the checkpoint answers up to {difference:.4f} away from the network it is made of, at most "
            f"{MAX_DIFFERENCE} is rounding; nothing was released: look for weights too large for float16, "
            "and train with more weight decay"
        )
    return round(difference, 6)


def _judged(net: LesionNet | LesionEnsemble, photos: LesionPhotos) -> Judged:
    judged = judge(net, photos)
    if not (np.isfinite(judged.risk_BR).all() and np.isfinite(judged.diagnosis_BK).all()):
        raise ReleaseError(
            "the network answers what is not a number; nothing was released: take a state before it diverged"
        )
    return judged


def _fold_figures(judged: Judged, calibration: Calibration, meta: CheckpointMeta) -> FoldFigures:
    metrics = _metrics_of(_calibrated(judged, calibration), judged, meta)
    diagnosis, risk = metrics["diagnosis"], metrics["risk"]
    return {
        "balanced_accuracy": diagnosis["balanced_accuracy"]["value"],
        "macro_auroc": diagnosis["macro_auroc"]["value"],
        "malignant_auroc": risk["auroc"]["value"],
        "sensitivity": risk["sensitivity"]["value"],
        "specificity": risk["specificity"]["value"],
    }


def _joined(parts: Sequence[Judged]) -> Judged:
    return Judged(
        risk_BR=np.concatenate([part.risk_BR for part in parts]),
        diagnosis_BK=np.concatenate([part.diagnosis_BK for part in parts]),
        malignant_B=np.concatenate([part.malignant_B for part in parts]),
        truth_B=np.concatenate([part.truth_B for part in parts]),
        group_B=[group for part in parts for group in part.group_B or ()],
    )


def _photos(config: LesionTraining, rows: Sequence[Row], labels: tuple[str, ...]) -> LesionPhotos:
    return LesionPhotos(
        rows,
        labels=labels,
        side_px=config.input_px,
        cache=config.cache,
        max_unreadable_share=config.max_unreadable_share,
    )


def _lesion_net(net: nn.Module) -> LesionNet:
    inner = unwrap(net)
    assert isinstance(inner, LesionNet)
    return inner.eval()


def _folder(config: LesionTraining, folder: Path | None) -> Path:
    if folder is None and is_remote(config.run):
        raise ValueError(f"the run {config.run} is not on this machine; give the folder to release into")
    return folder or Path(config.run) / "checkpoint"
