"""Release a trained lesion network, or the networks of all folds, as a calibrated checkpoint.

Axes: B photo, H row, W column, C colour, K diagnosis, R risk group.
"""

import hashlib
import logging
import os
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from models.checkpoint import INT8, CheckpointMeta, save_checkpoint, unwrap
from models.diagnoses import find_diagnosis
from models.lesion.engine import LesionOutput
from models.lesion.engine_loader import load_lesion_engine, supported_int8_runtimes
from models.lesion.localizer import Localizer
from models.lesion.metrics import FoldMetrics, Int8Metrics, LesionMetrics
from models.lesion.network import LesionEnsemble
from models.lesion.networks import AnyLesionNet, SingleLesionNet
from models.lesion.quantization.int8 import CalibrationRanges
from models.lesion.shapes import network_name
from models.metrics import TaskMetrics
from models.normalization import MEAN, STD
from train.config import stored_settings
from train.data.manifest import Row
from train.lesion.calibration import (
    Calibration,
    LabelledLogits,
    calibration_metrics,
    fit_calibration,
    fold_in,
    threshold_for_sensitivity,
)
from train.lesion.calibration_ranges import NUM_PHOTOS, changed_verdicts, int8_metrics, measure_ranges
from train.lesion.config import LesionTraining
from train.lesion.dataset import LesionPhotos
from train.lesion.metrics import lesion_metrics
from train.lesion.model_card import lesion_card
from train.lesion.predictions import batches_of, predict, predict_logits
from train.lesion.ranking import ranking_weights
from train.lesion.verdict_thresholds import ErrorLimits, choose_thresholds
from train.task import MAX_DIFFERENCE, ReleaseError, TrainedRun, written_engine

NAME_DIAGNOSIS_THRESHOLD = 0.10
"""The response names no diagnosis below this probability; a rule of SkinSense."""
MALIGNANT_THRESHOLD = 0.5
VALIDATION = "validation: patients and lesions that were not seen in training"
OUT_OF_FOLD = (
    "out of fold: every photo is predicted by the member whose training set excludes it. The whole ensemble, "
    "which is served, cannot be evaluated on these photos"
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CropRelease:
    """Release a network that reads the localizer's crops, with a three-way verdict."""

    localizer: Localizer
    source_of: Callable[[Row], str]
    """Returns the data set of a photo."""
    limits: ErrorLimits = field(default_factory=ErrorLimits)


def release_lesion(run: TrainedRun, folder: Path, crops: CropRelease | None = None) -> None:
    """Calibrate a network on the validation set and write its checkpoint.

    The metrics are those of the written weights, by the float32 reference engine. The checkpoint has int8
    ranges (``int8.json``) if int8 costs little accuracy on the validation set; ``metrics.int8`` has the cost.

    Args:
        run: the finished training.
        folder: of the checkpoint.
        crops: photos are crops of a localizer and the verdict is three-way; the caller adds the gate. None:
            central squares, and one threshold.

    Raises:
        ReleaseError: the outputs of the checkpoint differ from those of the network.
    """
    net, config, split = _lesion_net(run.net), run.config, run.split
    localizer = None if crops is None else crops.localizer
    photos = _photos(run, split.val, localizer=localizer)
    logits = _finite_logits(net, photos)
    calibration = fit_calibration(logits)
    meta = _meta(run, run.architecture, (split.train, split.val), split.fingerprint)
    source_B = ["all"] * len(photos) if crops is None else [crops.source_of(row) for row in photos.rows]
    bounds: dict[str, float] = {}
    if crops is None:
        meta = _with_threshold(meta, config, logits, calibration)
    else:
        meta, bounds = _with_three_way_thresholds(meta, crops.limits, logits, calibration, source_B)

    def evaluate(output: LesionOutput) -> LesionMetrics:
        difference = _difference(output, logits, calibration)  # first: outputs may not be finite
        return _metrics_of(output, logits, meta).model_copy(
            update={
                "split": VALIDATION,
                "calibration": calibration_metrics(logits, calibration),
                "largest_difference_from_training": difference,
                "error_bounds": bounds,
            }
        )

    calibrated = fold_in(net, calibration)
    ranges = None
    if supported_int8_runtimes(network_name(run.architecture)):
        sample = random.Random(config.seed).sample(split.train, min(NUM_PHOTOS, len(split.train)))
        ranges = measure_ranges(calibrated, _photos(run, sample, cache="", localizer=localizer))
    validation = _Validation(
        photos=photos, logits=logits, evaluate=evaluate, source_B=source_B, ranges=ranges
    )
    _write(calibrated, meta, validation, split.train, folder)


def release_ensemble(runs: Sequence[TrainedRun], folder: Path) -> list[FoldMetrics]:
    """Write the networks of all folds as one checkpoint; return the metrics of each fold.

    All members share one calibration. It is fitted on out-of-fold logits: each photo's are those of the
    member whose training set excludes it.

    Raises:
        ReleaseError: the outputs of the checkpoint differ from those of the networks.
    """
    first = runs[0]
    members = [_lesion_net(run.net) for run in runs]
    parts = [_finite_logits(net, _photos(run, run.split.val)) for net, run in zip(members, runs, strict=True)]
    logits = _concatenated(parts)
    calibration = fit_calibration(logits)
    architecture = {"num_members": len(members), **first.architecture}
    ensemble = LesionEnsemble(**architecture)
    for own, member in zip(ensemble.members, members, strict=True):
        own.load_state_dict(member.state_dict())
    ensemble.to(next(members[0].parameters()).device).eval()
    rows = [*first.split.train, *first.split.val]
    fingerprints = "".join(sorted(run.split.fingerprint for run in runs))
    meta = _meta(first, architecture, (rows, rows), hashlib.sha256(fingerprints.encode()).hexdigest())
    meta = _with_threshold(meta, first.config, logits, calibration)
    fold_metrics = [_fold_metrics(part, calibration, meta) for part in parts]
    photos = _photos(first, first.split.val)

    def evaluate(output: LesionOutput) -> LesionMetrics:
        difference = _difference(output, _finite_logits(ensemble, photos), calibration)
        return _metrics_of(_calibrated(logits, calibration), logits, meta).model_copy(
            update={
                "split": OUT_OF_FOLD,
                "folds": {str(number): one for number, one in enumerate(fold_metrics, start=1)},
                "calibration": calibration_metrics(logits, calibration),
                "largest_difference_from_training": difference,
            }
        )

    source_B = ["all"] * len(photos)
    validation = _Validation(photos=photos, logits=logits, evaluate=evaluate, source_B=source_B)
    _write(fold_in(ensemble, calibration), meta, validation, rows, folder)
    return fold_metrics


@dataclass(frozen=True, kw_only=True)
class _Validation:
    """Hold the photos that the written checkpoint is evaluated on."""

    photos: LesionPhotos
    logits: LabelledLogits
    evaluate: Callable[[LesionOutput], LesionMetrics]
    source_B: Sequence[str]
    """Data set of each photo."""
    ranges: CalibrationRanges | None = None
    """Of int8, which is released if it costs little on these photos; None: float32 only."""


def _write(
    net: AnyLesionNet,
    meta: CheckpointMeta,
    validation: _Validation,
    train_rows: Sequence[Row],
    folder: Path,
) -> None:
    """Write the checkpoint beside ``folder``, evaluate it, and only then move it there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    device = str(next(net.parameters()).device)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".release-") as name:
        scratch = Path(name)
        ranges = validation.ranges
        save_checkpoint(scratch, net, meta, model_card="", int8_ranges=ranges)
        reference = written_engine(partial(load_lesion_engine, scratch, device=device, engine="pytorch"))
        output = predict(reference, batches_of(validation.photos))
        metrics = validation.evaluate(output)
        if ranges is None:
            log.info("no int8: the network is an ensemble, or this machine has no int8 for it")
        else:
            cost = _evaluate_int8(scratch, meta, validation, output)
            metrics = metrics.model_copy(update={"int8": cost})
            ranges = ranges if cost.passed else None
        meta = meta.model_copy(update={"metrics": metrics})
        save_checkpoint(scratch, net, meta, lesion_card(meta, metrics, train_rows), int8_ranges=ranges)
        folder.mkdir(exist_ok=True)
        if ranges is None:
            (folder / INT8).unlink(missing_ok=True)
        for path in scratch.iterdir():
            os.replace(path, folder / path.name)


def _evaluate_int8(
    folder: Path, meta: CheckpointMeta, validation: _Validation, float32: LesionOutput
) -> Int8Metrics:
    """Return the metrics of the worst int8 engine that this machine supports.

    ``engines`` holds each engine's result; serving uses no engine that is missing there.
    """
    results: list[Int8Metrics] = []
    for runtime in supported_int8_runtimes(network_name(meta.architecture)):
        output = predict(load_lesion_engine(folder, engine=runtime), batches_of(validation.photos))
        cost = int8_metrics(runtime, output, float32, validation.logits, meta.label_weights())
        changed, is_small = changed_verdicts(output, float32, meta.thresholds, validation.source_B)
        cost = cost.model_copy(update={"changed_verdicts": changed, "passed": cost.passed and is_small})
        log.info(
            "int8 by %s: macro AUROC %+.4f, %.1f%% of diagnoses and %.1f%% of verdicts changed, n = %d: %s",
            runtime,
            cost.macro_auroc_difference or 0,
            100 * cost.changed_share,
            100 * changed["all"],
            cost.n,
            "accepted" if cost.passed else "rejected",
        )
        results.append(cost)
    worst = min(results, key=lambda cost: (cost.passed, -cost.changed_share))
    if not worst.passed:
        log.info("the checkpoint is released without int8: every engine must pass")
    return worst.model_copy(update={"engines": {cost.engine: cost.passed for cost in results}})


def _meta(
    run: TrainedRun,
    architecture: dict[str, Any],
    rows: tuple[Sequence[Row], Sequence[Row]],
    fingerprint: str,
) -> CheckpointMeta:
    config, notes = run.config, run.notes
    train_rows, val_rows = rows
    names = ("format", "indeterminate", "examples_per_step", "start")
    from_notes = {name: notes[name] for name in names if notes.get(name)}
    return CheckpointMeta(
        kind="lesion",
        name=config.name,
        version=config.version,
        architecture=architecture,
        labels=run.labels,
        groups={label: find_diagnosis(label).group for label in run.labels},
        input_px=config.input_px,
        mean=MEAN,
        std=STD,
        thresholds={"malignant": MALIGNANT_THRESHOLD, "name_diagnosis": NAME_DIAGNOSIS_THRESHOLD},
        ranking_weights=ranking_weights(train_rows, run.labels, config.ranking_exponent),
        metrics=TaskMetrics(),
        training=stored_settings(config)
        | {"num_train": len(train_rows), "num_val": len(val_rows)}
        | from_notes,
        training_data=config.training_data or str(notes.get("training_data") or "not stated"),
        data_fingerprint=fingerprint,
        data_licence=config.data_licence or str(notes.get("licence") or "not stated"),
    )


def _with_threshold(
    meta: CheckpointMeta, config: LesionTraining, logits: LabelledLogits, calibration: Calibration
) -> CheckpointMeta:
    if config.min_sensitivity is None:
        return meta
    threshold = threshold_for_sensitivity(
        config.min_sensitivity,
        calibration.malignant_probability(logits.risk_BR),
        logits.malignant_B,
        logits.group_B,
    )
    return meta.model_copy(update={"thresholds": meta.thresholds | {"malignant": threshold}})


def _with_three_way_thresholds(
    meta: CheckpointMeta,
    limits: ErrorLimits,
    logits: LabelledLogits,
    calibration: Calibration,
    source_B: Sequence[str],
) -> tuple[CheckpointMeta, dict[str, float]]:
    """Return the meta with both thresholds, and the bounds of their error rates."""
    chosen = choose_thresholds(
        calibration.malignant_probability(logits.risk_BR),
        logits.malignant_B,
        logits.group_B or list(range(len(source_B))),
        source_B,
        limits=limits,
    )
    thresholds = meta.thresholds | {"benign": chosen.benign, "malignant": chosen.malignant}
    bounds = {
        "called_benign": round(chosen.malignant_called_benign, 4),
        "called_malignant": round(chosen.benign_called_malignant, 4),
    }
    return meta.model_copy(update={"thresholds": thresholds}), bounds


def _metrics_of(output: LesionOutput, logits: LabelledLogits, meta: CheckpointMeta) -> LesionMetrics:
    return lesion_metrics(
        malignant_B=logits.malignant_B,
        diagnosis_B=logits.truth_B,
        malignant_probability_B=output.malignant_B,
        probability_BK=output.diagnosis_BK,
        labels=meta.labels,
        threshold=meta.thresholds["malignant"],
        group_B=logits.group_B,
        ranking_weight_K=meta.label_weights(),
    )


def _calibrated(logits: LabelledLogits, calibration: Calibration) -> LesionOutput:
    return LesionOutput(
        malignant_B=calibration.malignant_probability(logits.risk_BR),
        diagnosis_BK=calibration.diagnosis_probability(logits.diagnosis_BK),
    )


def _difference(output: LesionOutput, logits: LabelledLogits, calibration: Calibration) -> float:
    """Return the largest difference in probability between the checkpoint and the trained network.

    Raises:
        ReleaseError: it is too large.
    """
    expected = _calibrated(logits, calibration)
    risk_B = np.abs(output.malignant_B - expected.malignant_B)
    diagnosis_BK = np.abs(output.diagnosis_BK - expected.diagnosis_BK)
    difference = float(np.maximum(risk_B.max(), diagnosis_BK.max()))
    if not difference <= MAX_DIFFERENCE:  # also for NaN
        raise ReleaseError(
            f"the checkpoint's probabilities differ by up to {difference:.4f} from the trained network's, "
            f"float16 explains at most {MAX_DIFFERENCE}; nothing was released: check for weights too large "
            "for float16, and train with more weight decay"
        )
    return round(difference, 6)


def _finite_logits(net: AnyLesionNet, photos: LesionPhotos) -> LabelledLogits:
    logits = predict_logits(net, photos)
    if not (np.isfinite(logits.risk_BR).all() and np.isfinite(logits.diagnosis_BK).all()):
        raise ReleaseError(
            "the network's outputs are not finite; nothing was released: release an epoch before it diverged"
        )
    return logits


def _fold_metrics(logits: LabelledLogits, calibration: Calibration, meta: CheckpointMeta) -> FoldMetrics:
    metrics = _metrics_of(_calibrated(logits, calibration), logits, meta)
    return FoldMetrics(
        balanced_accuracy=metrics.diagnosis.balanced_accuracy.value,
        macro_auroc=metrics.diagnosis.macro_auroc.value,
        malignant_auroc=metrics.risk.auroc.value,
        sensitivity=metrics.risk.sensitivity.value,
        specificity=metrics.risk.specificity.value,
    )


def _concatenated(parts: Sequence[LabelledLogits]) -> LabelledLogits:
    return LabelledLogits(
        risk_BR=np.concatenate([part.risk_BR for part in parts]),
        diagnosis_BK=np.concatenate([part.diagnosis_BK for part in parts]),
        malignant_B=np.concatenate([part.malignant_B for part in parts]),
        truth_B=np.concatenate([part.truth_B for part in parts]),
        group_B=[group for part in parts for group in part.group_B or ()],
    )


def _photos(
    run: TrainedRun, rows: Sequence[Row], *, cache: str | None = None, localizer: Localizer | None = None
) -> LesionPhotos:
    return LesionPhotos(
        rows,
        labels=run.labels,
        side_px=run.config.input_px,
        cache=run.config.cache if cache is None else cache,
        max_unreadable_share=run.config.max_unreadable_share,
        localizer=localizer,
    )


def _lesion_net(net: nn.Module) -> SingleLesionNet:
    inner = unwrap(net)
    assert isinstance(inner, SingleLesionNet)
    return inner.eval()
