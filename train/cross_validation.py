"""K-fold cross-validation: one network for each fold, trained in parallel, released as one ensemble."""

import logging
import statistics
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from models.storage import join
from train.config import Scale, Training
from train.data.manifest import Manifest
from train.data.split import write_split
from train.fit import fit, parallel_folds
from train.release import release_folds
from train.run_folder import RunFolder
from train.task import FoldMetrics, Task

log = logging.getLogger(__name__)


def run_folds(task: Task[Any], training: Training, scale: Scale, data: Manifest) -> str:
    """Train every fold, print their metrics and release one checkpoint; return its address.

    Finished folds are not trained again, so the same command resumes.

    Raises:
        ManifestError: the rows cannot be split into so many folds, or the task has no cross-validation.
        RunStoppedError: a fold cannot continue; the training checkpoints of the others are kept.
    """
    splits = task.split(training, data.rows, num_folds=scale.folds)
    trainings: list[Training] = []
    for number, split in enumerate(splits, start=1):
        folder = RunFolder(address=join(training.run, f"fold-{number}"))
        if not folder.epochs():
            write_split(split, folder.split)
        trainings.append(replace(training, run=folder.address, split=folder.split))
    if scale.workers:
        with ThreadPoolExecutor(parallel_folds(scale)) as pool:
            list(pool.map(lambda one: fit(task, one, scale), trainings))
    else:
        for one in trainings:
            fit(task, one, scale, data)
    artifact = RunFolder(address=training.run).artifact
    print(format_table(release_folds([one.run for one in trainings], artifact, data)))
    return artifact


def format_table(folds: list[FoldMetrics]) -> str:
    """Return one line for each fold, the mean and the standard deviation over the folds."""
    names = list(folds[0])
    lines = ["fold  " + "  ".join(f"{name:>18}" for name in names)]
    lines += [
        f"{number:<5} " + "  ".join(f"{fold[name]:18.4f}" for name in names)
        for number, fold in enumerate(folds, start=1)
    ]
    for title, statistic in (("mean", statistics.mean), ("sd", statistics.stdev)):
        values = (statistic([fold[name] for fold in folds]) for name in names)
        lines.append(f"{title:<5} " + "  ".join(f"{value:18.4f}" for value in values))
    return "\n".join(lines)
