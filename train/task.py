"""The interface between generic training code and one task.

A task is a kind of network with its data: one folder each in ``models``, ``serve`` and ``train``, registered
in ``train/tasks.py``. Generic code calls a task only through this interface.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from torch import nn

from models.checkpoint import CheckpointError
from models.errors import SkinserveError
from models.lesion.runtimes import EngineName
from train.config import Training
from train.data.manifest import Row
from train.data.split import Split
from train.distributed import DistributedContext
from train.loop import Batch, LossFunction
from train.report.html_report import Report

ConfigT = TypeVar("ConfigT", bound=Training)
EngineT = TypeVar("EngineT")
FoldMetrics = dict[str, float]
"""Main metrics of one fold by name."""


MAX_DIFFERENCE = 0.01
"""In probability, between the trained network and the released checkpoint."""


class ReleaseError(SkinserveError):
    """The network cannot be released; no file was overwritten."""


def written_engine(load: Callable[[], EngineT]) -> EngineT:
    """Load a checkpoint that a release has just written.

    Raises:
        ReleaseError: it cannot be loaded.
    """
    try:
        return load()
    except CheckpointError as error:
        raise ReleaseError(
            f"{error}; nothing was released: the network diverged, or its weights are too large for float16 "
            "(train with more weight decay)"
        ) from error


class EvaluationError(SkinserveError):
    """The checkpoint cannot be evaluated on these photos."""


class TrainBatches(Protocol):
    """Batches of the training set; the order follows from ``epoch``."""

    epoch: int

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Batch]: ...


@dataclass(frozen=True, kw_only=True)
class TaskSetup:
    """Network, batches and losses of one run."""

    net: nn.Module
    train_batches: TrainBatches
    val_batches: Callable[[], Iterable[Batch]]
    train_loss: LossFunction
    val_loss: LossFunction
    architecture: Mapping[str, Any]
    """Arguments of the task's network class."""
    initialization: str
    """Origin of the initial weights, for the model card."""
    data_fingerprint: str
    """Of the readable data; equal on all workers."""
    labels: tuple[str, ...] = ()
    """Names of the network's output columns."""


@dataclass(frozen=True, kw_only=True)
class TrainedRun:
    """A trained network and the data it was trained on."""

    config: Any
    """Settings of the task, with the paths of this machine."""
    net: nn.Module
    split: Split
    architecture: dict[str, Any]
    labels: tuple[str, ...]
    notes: Mapping[str, Any]
    """Of the manifest, with the origin of the initial weights and the examples per step."""


@dataclass(frozen=True, kw_only=True)
class EvaluationData:
    """Photos to evaluate a checkpoint on."""

    rows: Sequence[Row]
    train_rows: Sequence[Row] = ()
    """Training set of the same split, for baselines; empty: no baselines."""
    faces: str = ""
    """Folder of extracted faces; empty: none."""
    engine: EngineName = "pytorch"
    """Of a lesion checkpoint."""
    degrade: bool = False
    """Evaluate degraded lesion photos too."""
    without_lesion: str = ""
    """Folder of pictures without a lesion; empty: none."""
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Named, complete settings of a training run."""

    description: str
    training: Training
    draw_data: Callable[[Path], object] | None = None
    """Draws photos and writes the manifest if it does not exist; None: the user supplies the data."""


class Task(Protocol[ConfigT]):
    """One kind of network: its settings, data, network, evaluation and release."""

    name: str
    """Kind of the network in ``meta.json``."""
    config: type[ConfigT]
    network: Callable[..., nn.Module]
    recipes: Mapping[str, Recipe]

    def split(self, config: ConfigT, rows: Sequence[Row], *, num_folds: int = 0) -> list[Split]:
        """Split rows into training and validation set: one split, or one for each fold.

        Raises:
            ManifestError: the rows cannot be split, or the task has no cross-validation.
        """
        ...

    def build(self, config: ConfigT, context: DistributedContext, split: Split) -> TaskSetup:
        """Build network, batches and losses of a run on this worker's device.

        Raises:
            SkinserveError: the data or the initial weights cannot be used.
        """
        ...

    def evaluate(self, checkpoint: Path, data: EvaluationData) -> Report:
        """Evaluate a checkpoint; return the content of the report without model, side and summary.

        Raises:
            EvaluationError: no photo can be evaluated.
        """
        ...

    def release(self, runs: Sequence[TrainedRun], folder: Path) -> list[FoldMetrics]:
        """Write the checkpoint of one run or of all folds; return each fold's metrics.

        Raises:
            ReleaseError: the written checkpoint differs from the network, or has no valid outputs.
        """
        ...
