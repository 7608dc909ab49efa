"""Deployment of the lesion networks."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import ray.serve

from serve.lesion.config import LesionConfig
from serve.lesion.messages import LesionPhoto, LesionReport
from serve.lesion.replica_model import load_lesion_model
from serve.runtime.autoscaling import Load
from serve.runtime.batching import BatchThreads
from serve.runtime.gpu_memory import limit_gpu_memory
from serve.runtime.model_cache import LoadFailed, ModelCache, ModelRuntime
from serve.runtime.replica_client import Overloaded
from serve.runtime.threads import compute_threads


@ray.serve.deployment(health_check_period_s=5, health_check_timeout_s=60)
class LesionClassifier:
    """Serve the default lesion model and others by multiplexed model id, on one device.

    The default model loads in ``__init__``, so that a bad checkpoint stops the rollout before any request.
    """

    def __init__(self, config: LesionConfig) -> None:
        limit_gpu_memory(config.device)
        threads = BatchThreads(compute_threads(config.device, config.num_threads))
        self.models = ModelCache[LesionPhoto, LesionReport](
            partial(load_lesion_model, config, threads),
            default=config.checkpoints[0],
            max_models=config.max_models_per_replica,
        )
        self._photos = PhotoMeter()
        self._max_photos = config.max_photos_per_replica

    async def classify(
        self, photos: Sequence[LesionPhoto], model: str = ""
    ) -> list[LesionReport] | Overloaded | LoadFailed:
        """Classify the photos of one call, in batches with other calls for the same model.

        Args:
            photos: of the call.
            model: address of the model; default: the default model.

        Raises:
            Exception: the engine's error for one of the photos.
        """
        loaded = await self.models.get(model)
        if isinstance(loaded, LoadFailed):
            return loaded
        if self._photos.num_in_progress >= self._max_photos:
            return Overloaded(num_photos=self._photos.num_in_progress)
        with self._photos.count(len(photos)):
            work = (loaded.batcher.submit(photo) for photo in photos)
            # with exceptions, so that the photos count until the last one is finished
            reports = await asyncio.gather(*work, return_exceptions=True)
        for report in reports:
            if isinstance(report, BaseException):
                raise report
        return [report for report in reports if isinstance(report, LesionReport)]

    async def preload(self, model: str) -> ModelRuntime | LoadFailed:
        """Load a model before the first request for it."""
        loaded = await self.models.get(model)
        return loaded if isinstance(loaded, LoadFailed) else loaded.runtime

    async def record_autoscaling_stats(self) -> dict[Load, float]:  # async: in the thread of ``classify``
        """Return the mean number of photos in progress for ``TargetLoadPolicy``."""
        return {"photos": self._photos.mean_since_last_call()}

    async def check_health(self) -> None:
        """Raise if the engine of a loaded model has failed; Serve then replaces this replica."""
        await self.models.check_health()

    async def describe(self) -> dict[str, ModelRuntime]:
        """Return device and engine of each loaded model by its address."""
        return self.models.runtimes()


class PhotoMeter:
    """Count the photos in progress on a replica, and average their number over time.

    Serve counts calls, of which each carries one to eight photos.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.num_in_progress = 0
        self._photo_s = 0.0
        self._clock = clock
        self._reported_at = self._changed_at = clock()

    @contextmanager
    def count(self, num_photos: int) -> Iterator[None]:
        """Count photos as in progress while the context is open."""
        self._change(num_photos)
        try:
            yield
        finally:
            self._change(-num_photos)

    def mean_since_last_call(self) -> float:
        """Return the mean number in progress since the last call of this method."""
        self._change(0)
        passed_s = self._changed_at - self._reported_at
        mean = self._photo_s / passed_s if passed_s > 0 else float(self.num_in_progress)
        self._photo_s, self._reported_at = 0.0, self._changed_at
        return mean

    def _change(self, num_photos: int) -> None:
        now = self._clock()
        self._photo_s += self.num_in_progress * (now - self._changed_at)
        self._changed_at = now
        self.num_in_progress += num_photos
