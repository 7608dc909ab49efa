"""One progress model of a replica.

Axes: B series of a batch, T photo of a series, H row, W column, C colour.
"""

from typing import TYPE_CHECKING

import numpy as np

from models.checkpoint import CheckpointError, CheckpointMeta, local_checkpoint
from models.progress.verdict import VerdictThresholds
from serve.progress.config import ProgressConfig
from serve.progress.messages import FaceSeries, ProgressReport
from serve.runtime.batching import BatchThreads, DynamicBatcher
from serve.runtime.model_cache import CachedModel, ModelRuntime
from serve.schemas import ModelName

if TYPE_CHECKING:
    from models.progress.engine import ProgressEngine


def load_progress_model(
    config: ProgressConfig, threads: BatchThreads, address: str
) -> CachedModel[FaceSeries, ProgressReport]:
    """Load one checkpoint into an engine with a batcher.

    Raises:
        CheckpointError: it is missing, damaged, or no progress network.
    """
    from models.progress.engine import load_progress_engine

    engine = load_progress_engine(local_checkpoint(address), device=config.device)
    engine.ping()
    return CachedModel(
        meta=engine.meta,
        runtime=ModelRuntime(device=engine.device, engine=engine.runtime),
        batcher=DynamicBatcher(
            ProgressNetwork(engine).classify,
            engine.ping,
            max_size=config.max_batch_size,
            size_of=lambda series: len(series.present_T),
            threads=threads,
            network="progress",
        ),
    )


class ProgressNetwork:
    """Run one engine and report probabilities and thresholds.

    Raises:
        CheckpointError: a threshold is missing.
    """

    def __init__(self, engine: "ProgressEngine") -> None:
        self._engine = engine
        self._thresholds = thresholds_of(engine.meta)
        self._model = ModelName(name=engine.meta.name, version=engine.meta.version)

    def classify(self, batch: list[FaceSeries]) -> list[ProgressReport]:
        """Classify a batch of series."""
        longest = max(len(series.present_T) for series in batch)
        crop_BTHWC = np.stack([_padded(series.crop_THWC, longest) for series in batch])
        present_BT = np.stack([_padded(series.present_T, longest) for series in batch])
        improved_BT = self._engine(crop_BTHWC, present_BT).improved_BT
        if not np.isfinite(improved_BT).all():
            raise ValueError("the network returned a probability that is not finite; load it again")
        return [
            ProgressReport(
                model=self._model,
                thresholds=self._thresholds,
                improved_T=tuple(improved_T[: len(series.present_T)].tolist()),
            )
            for improved_T, series in zip(improved_BT, batch, strict=True)
        ]


def thresholds_of(meta: CheckpointMeta) -> VerdictThresholds:
    """Return the thresholds of the verdict.

    Raises:
        CheckpointError: one is missing or out of range.
    """
    try:
        return VerdictThresholds.of(meta.thresholds)
    except KeyError as error:
        raise CheckpointError(
            f"checkpoint {meta.name} has no threshold {error}; release it again with one"
        ) from error
    except ValueError as error:
        raise CheckpointError(f"checkpoint {meta.name}: {error}; calibrate it again") from error


def _padded(values_T: np.ndarray, length: int) -> np.ndarray:
    missing = np.zeros((length - len(values_T), *values_T.shape[1:]), values_T.dtype)
    return np.concatenate([values_T, missing])
