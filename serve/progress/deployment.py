"""The progress network as a deployment.

Axes: B series of a batch, T photo of a series, H row, W column, C colour.
"""

import numpy as np
import ray.serve

from models.checkpoint import local_checkpoint, read_model_card
from serve.config import ProgressConfig
from serve.messages import ProgressReport, Series, loaded_model, threshold_of
from serve.runtime.batching import DynamicBatcher
from serve.runtime.gpu_memory import limit_gpu_memory
from serve.runtime.threads import compute_threads, load_in_throwaway_thread
from serve.schemas import LoadedModel, ModelName


@ray.serve.deployment(max_ongoing_requests=64, health_check_period_s=5, health_check_timeout_s=60)
class ProgressClassifier:
    """Serves one progress network from one device; weights load in ``__init__``."""

    def __init__(self, config: ProgressConfig) -> None:
        from models.progress.engine import load_progress_engine  # here, as in serve.lesion.deployment

        folder = local_checkpoint(config.checkpoint)
        limit_gpu_memory(config.device)
        self._engine = load_in_throwaway_thread(
            lambda: load_progress_engine(folder, device=config.device, num_threads=config.num_threads)
        )
        self.meta = self._engine.meta
        self._threshold = threshold_of(self.meta, "improved")
        self._model = ModelName(name=self.meta.name, version=self.meta.version)
        self._model_card = read_model_card(folder)
        self._batcher = DynamicBatcher(
            self._classify_batch,
            self._engine.ping,
            max_size=config.max_batch_size,
            size_of=lambda series: len(series.present_T),
            threads=compute_threads(config.device, config.num_threads),
        )

    async def classify(self, series: Series) -> ProgressReport:
        """Classify one series, together with those that wait beside it."""
        return await self._batcher.submit(series)

    async def check_health(self) -> None:
        """Raise if the engine no longer answers; Serve then replaces this replica."""
        await self._batcher.check_alive()

    def describe(self) -> LoadedModel:
        """Say what is loaded, for ``GET /v1/models``."""
        engine = self._engine
        return loaded_model(
            self.meta, device=engine.device, engine=engine.runtime, model_card=self._model_card
        )

    def _classify_batch(self, series: list[Series]) -> list[ProgressReport]:
        longest = max(len(one.present_T) for one in series)
        crop_BTHWC = np.stack([_padded(one.crop_THWC, longest) for one in series])
        present_BT = np.stack([_padded(one.present_T, longest) for one in series])
        improved_BT = self._engine(crop_BTHWC, present_BT).improved_BT
        return [
            ProgressReport(
                model=self._model,
                threshold=self._threshold,
                improved_T=tuple(improved_T[: len(one.present_T)].tolist()),
            )
            for improved_T, one in zip(improved_BT, series, strict=True)
        ]


def _padded(steps: np.ndarray, length: int) -> np.ndarray:
    missing = np.zeros((length - len(steps), *steps.shape[1:]), steps.dtype)
    return np.concatenate([steps, missing])
