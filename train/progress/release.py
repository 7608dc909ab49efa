"""Release a trained progress network as a checkpoint. Axes: B series."""

import os
import tempfile
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from models.checkpoint import CheckpointMeta, save_checkpoint, unwrap
from models.metrics import TaskMetrics
from models.normalization import MEAN, STD
from models.progress.engine import ProgressEngine, load_progress_engine
from models.progress.metrics import ProgressMetrics
from models.progress.network import LABELS, ProgressNet
from models.progress.verdict import VerdictThresholds
from train.config import stored_settings
from train.progress.baselines import baseline_metrics, no_change_metrics
from train.progress.calibration import UNDECIDED, VerdictData
from train.progress.config import ProgressTraining
from train.progress.evaluation_series import EvaluationSeries, changed_series, clear_series
from train.progress.model_card import progress_card
from train.progress.predictions import evaluate_engine, predict_improved
from train.progress.series import Series, to_batch
from train.task import MAX_DIFFERENCE, ReleaseError, TrainedRun, written_engine

SYNTHETIC_SPLIT = "synthetic series of people not seen in training"
REAL_SPLIT = "series of people not seen in training"


def release_progress(run: TrainedRun, series: EvaluationSeries, folder: Path) -> None:
    """Write the checkpoint of a network.

    The weights are written beside ``folder`` and evaluated with the engine that serves them, after the
    conversion to float16. Only then do they replace the content of ``folder``.

    Raises:
        ReleaseError: the checkpoint's outputs differ from the network's, or no series has a clear verdict.
    """
    config: ProgressTraining = run.config
    val_series = series.with_verdict
    if not val_series:
        raise ReleaseError(
            f"none of the {len(series.val)} validation series has a clear verdict; nothing was released: "
            "take a split with more people in the validation set"
        )

    def evaluate(engine: ProgressEngine) -> tuple[VerdictThresholds, ProgressMetrics]:
        difference = _difference(engine, run.net, config.temperature, val_series)
        return released_metrics(engine, series, difference=difference)

    net = with_temperature(run.net, config.temperature)
    _write(net, _meta(run, real=series.real), evaluate, folder, device=config.device)


def released_metrics(
    engine: ProgressEngine, series: EvaluationSeries, *, difference: float | None
) -> tuple[VerdictThresholds, ProgressMetrics]:
    """Fit the thresholds of the verdicts; return them and the metrics of a checkpoint.

    Args:
        difference: largest one in probability from the trained network.
    """
    val_series = series.with_verdict
    train_series = clear_series(series.baseline_train, real=series.real)
    data = VerdictData(engine, {**series.no_change, **series.altered}, changed_series(series))
    thresholds = data.thresholds()
    metrics = evaluate_engine(engine, val_series).model_copy(
        update={
            "split": REAL_SPLIT if series.real else SYNTHETIC_SPLIT,
            "largest_difference_from_training": difference,
            "num_without_verdict": len(series.val) - len(val_series),
            "baselines": baseline_metrics(engine, train_series, val_series) if series.baseline_train else {},
            "no_change": no_change_metrics(engine, series.no_change),
            "verdicts": {} if thresholds.worsened is None else {"cross_fitted": data.metrics()},
        }
    )
    return thresholds, metrics


def with_temperature(net: nn.Module, temperature: float) -> ProgressNet:
    """Return the network with its last layer divided by ``temperature``."""
    inner = deepcopy(unwrap(net))
    assert isinstance(inner, ProgressNet)
    last = inner.head[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.div_(temperature)
        last.bias.div_(temperature)
    return inner.eval()


def _meta(run: TrainedRun, *, real: bool) -> CheckpointMeta:
    config: ProgressTraining = run.config
    split, notes = run.split, run.notes
    return CheckpointMeta(
        kind="progress",
        name=config.name,
        version=config.version,
        architecture=run.architecture,
        labels=LABELS,
        groups={},
        input_px=config.input_px,
        mean=MEAN,
        std=STD,
        thresholds=UNDECIDED.stored(),
        metrics=TaskMetrics(),
        training=stored_settings(config)
        | {
            "num_train": len(split.train),
            "num_val": len(split.val),
            "real_series": real,
            "val_people": sorted({row.person for row in split.val}),
        }
        | ({"start": notes["start"]} if notes.get("start") else {}),
        training_data=config.training_data or str(notes.get("training_data") or "not stated"),
        data_fingerprint=split.fingerprint,
        data_licence=config.data_licence or str(notes.get("licence") or "not stated"),
    )


def _write(
    net: ProgressNet,
    meta: CheckpointMeta,
    evaluate: Callable[[ProgressEngine], tuple[VerdictThresholds, ProgressMetrics]],
    folder: Path,
    *,
    device: str,
) -> None:
    """Write the checkpoint beside ``folder``, evaluate it, and only then move it there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".release-") as name:
        scratch = Path(name)
        save_checkpoint(scratch, net, meta, model_card="")
        engine = written_engine(partial(load_progress_engine, scratch, device=device))
        thresholds, metrics = evaluate(engine)
        meta = meta.model_copy(update={"metrics": metrics, "thresholds": thresholds.stored()})
        card = progress_card(meta, metrics, real=metrics.split == REAL_SPLIT)
        save_checkpoint(scratch, net, meta, card)
        folder.mkdir(exist_ok=True)
        for path in scratch.iterdir():
            os.replace(path, folder / path.name)


def _difference(engine: ProgressEngine, net: nn.Module, temperature: float, series: list[Series]) -> float:
    """Return the largest difference in probability between the checkpoint and the trained network.

    Raises:
        ReleaseError: it is too large.
    """
    expected_B = _network_probabilities(unwrap(net).eval(), temperature, series)
    difference = float(np.abs(predict_improved(engine, series) - expected_B).max())
    if not difference <= MAX_DIFFERENCE:  # also for NaN
        raise ReleaseError(
            f"the checkpoint's probabilities differ by up to {difference:.4f} from the trained network's, "
            f"float16 explains at most {MAX_DIFFERENCE}; nothing was released: release an epoch before the "
            "network diverged, or train with more weight decay"
        )
    return round(difference, 6)


@torch.inference_mode()
def _network_probabilities(net: nn.Module, temperature: float, series: list[Series]) -> np.ndarray:
    """Return the trained network's probability of improved after the last photo, (B,)."""
    device = str(next(net.parameters()).device)
    improved = LABELS.index("improved")
    probabilities: list[float] = []
    for one in series:
        batch = to_batch([one], device)
        logits_BTC = net(batch["photos"], batch["present"])
        probabilities.append(float((logits_BTC[0, -1] / temperature).softmax(0)[improved]))
    return np.array(probabilities)
