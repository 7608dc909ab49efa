"""K-fold training: a network for each fold, side by side as the cluster allows, and one ensemble of all."""

import logging
import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from models.storage import join
from train.config import LesionTraining, Scale, Training
from train.data.manifest import ManifestError, read_manifest
from train.data.split import fold_rows, write_split
from train.placement import alive_nodes, count_slots
from train.release import FoldFigures, release_folds
from train.run_folder import RunFolder

log = logging.getLogger(__name__)

Fit = Callable[[Training, Scale], None]


def run_folds(training: Training, scale: Scale, fit: Fit) -> str:
    """Train every fold, print a table of all of them and release one checkpoint; return its address.

    A fold that is finished is not trained again, so the same command goes on after a stop.

    Raises:
        ManifestError: the rows cannot be split into so many folds, or the network has no ensemble.
        RunStoppedError: a fold cannot go on; the others' states are kept.
    """
    if not isinstance(training, LesionTraining):
        raise ManifestError("--folds trains the lesion network; the progress network has one split by person")
    splits = fold_rows(read_manifest(training.manifest), num_folds=scale.folds, seed=training.seed)
    runs = [join(training.run, f"fold-{number}") for number in range(1, scale.folds + 1)]
    trainings = []
    for address, split in zip(runs, splits, strict=True):
        if not RunFolder(address=address).epochs():
            write_split(split, RunFolder(address=address).split)
        trainings.append(replace(training, run=address, split=RunFolder(address=address).split))
    if scale.workers:
        with ThreadPoolExecutor(side_by_side(scale)) as pool:
            list(pool.map(lambda one: fit(one, scale), trainings))
    else:
        for one in trainings:
            fit(one, scale)
    address, figures = release_folds(runs, join(training.run, "checkpoint"))
    print(table_of(figures))
    return address


def side_by_side(scale: Scale) -> int:
    """Return how many folds the cluster can train at once."""
    if not scale.workers:
        return 1
    room = count_slots(alive_nodes(), max(1, scale.cpus_per_worker), gpu=scale.gpu) // scale.workers
    return max(1, min(scale.folds, room))


def table_of(figures: list[FoldFigures]) -> str:
    """Return one line for each fold, the mean and the standard deviation over the folds."""
    names = list(figures[0])
    lines = ["fold  " + "  ".join(f"{name:>18}" for name in names)]
    lines += [
        f"{number:<5} " + "  ".join(f"{one[name]:18.4f}" for name in names)
        for number, one in enumerate(figures, start=1)
    ]
    for title, figure in (("mean", statistics.mean), ("sd", statistics.stdev)):
        lines.append(
            f"{title:<5} " + "  ".join(f"{figure([one[name] for one in figures]):18.4f}" for name in names)
        )
    return "\n".join(lines)
