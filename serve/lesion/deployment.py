"""Deployment of the lesion network. Axes: B photo of a batch, H row, W column, C colour, K diagnosis."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import ray.serve

from models.checkpoint import local_checkpoint, read_model_card
from models.diagnoses import GROUPS
from models.lesion.gate import gate_of
from serve.lesion.config import LesionConfig
from serve.lesion.messages import LesionPhoto, LesionReport
from serve.lesion.schemas import DiagnosisScore
from serve.runtime.autoscaling import Load
from serve.runtime.batching import DynamicBatcher
from serve.runtime.gpu_memory import limit_gpu_memory
from serve.runtime.loaded_model import loaded_model, threshold_of
from serve.runtime.replica_client import Overloaded
from serve.runtime.threads import ONE_THREAD, compute_threads, load_in_throwaway_thread
from serve.schemas import Gate, LoadedModel, ModelName


@ray.serve.deployment(health_check_period_s=5, health_check_timeout_s=60)
class LesionClassifier:
    """Serve one lesion network on one device.

    Weights load in ``__init__``, so that a bad checkpoint stops the rollout before any request.
    """

    def __init__(self, config: LesionConfig) -> None:
        # A local import, so that processes that only bind the deployment do not import PyTorch.
        from models.lesion.engine_loader import load_lesion_engine

        folder = local_checkpoint(config.checkpoint)
        limit_gpu_memory(config.device)
        self._engine = load_in_throwaway_thread(
            lambda: load_lesion_engine(
                folder,
                device=config.device,
                num_threads=config.num_threads,
                engine=config.engine,
                max_batch_size=config.max_batch_size,
            )
        )
        self.meta = self._engine.meta
        self._thresholds = config.thresholds_of(self.meta)
        self._gate = gate_of(self.meta)
        self._naming_threshold = threshold_of(self.meta, "name_diagnosis")
        self._model = ModelName(name=self.meta.name, version=self.meta.version)
        self._model_card = read_model_card(folder)
        concurrent = self._engine.supports_concurrent_calls
        self._batcher = DynamicBatcher(
            self._classify_batch,
            self._engine.ping,
            max_size=config.max_batch_size,
            threads=compute_threads(config.device, config.num_threads) if concurrent else ONE_THREAD,
        )
        self._photos = PhotoMeter()
        self._max_photos = config.max_photos_per_replica

    async def classify(self, photos: Sequence[LesionPhoto]) -> list[LesionReport] | Overloaded:
        """Classify the photos of one call, in batches with those of other calls.

        Raises:
            Exception: the engine's error for one of the photos.
        """
        if self._photos.num_in_progress >= self._max_photos:
            return Overloaded(num_photos=self._photos.num_in_progress)
        with self._photos.count(len(photos)):
            work = (self._batcher.submit(photo) for photo in photos)
            # with exceptions, so that the photos count until the last one is finished
            reports = await asyncio.gather(*work, return_exceptions=True)
        for report in reports:
            if isinstance(report, BaseException):
                raise report
        return [report for report in reports if isinstance(report, LesionReport)]

    async def record_autoscaling_stats(self) -> dict[Load, float]:  # async: in the thread of ``classify``
        """Return the mean number of photos in progress for ``TargetLoadPolicy``."""
        return {"photos": self._photos.mean_since_last_call()}

    async def check_health(self) -> None:
        """Raise if the engine no longer answers; Serve then replaces this replica."""
        await self._batcher.check_alive()

    def describe(self) -> LoadedModel:
        """Describe the loaded network for ``GET /v1/models``."""
        engine = self._engine
        return loaded_model(
            self.meta,
            device=engine.device,
            engine=engine.runtime,
            cuda_graphs=engine.uses_cuda_graphs,
            model_card=self._model_card,
            thresholds=self._thresholds.model_dump(),
            gate=None if self._gate is None else Gate(**self._gate.model_dump(exclude={"network_sha256"})),
        )

    def _classify_batch(self, photos: list[LesionPhoto]) -> list[LesionReport]:
        image_BHWC = np.stack([photo.image_HWC for photo in photos])
        output = self._engine(image_BHWC, explain=[i for i, photo in enumerate(photos) if photo.explain])
        scope_B = np.ones(len(photos)) if output.scope_B is None else output.scope_B
        if not all(np.isfinite(one).all() for one in (output.malignant_B, output.diagnosis_BK, scope_B)):
            raise ValueError("the network returned a probability that is not finite; load it again")
        reports: list[LesionReport] = []
        for index, malignant in enumerate(output.malignant_B.tolist()):
            verdict = self._thresholds.verdict(malignant)
            explained = "benign" if verdict == "benign" else "malignant"
            grad_cam_RHW = output.grad_cam_RHW.get(index)
            reports.append(
                LesionReport(
                    model=self._model,
                    malignant_probability=malignant,
                    thresholds=self._thresholds,
                    verdict=verdict,
                    scope=None if output.scope_B is None else float(output.scope_B[index]),
                    naming_threshold=self._naming_threshold,
                    diagnoses=self._ranked(output.diagnosis_BK[index]),
                    grad_cam_HW=None if grad_cam_RHW is None else grad_cam_RHW[GROUPS.index(explained)],
                )
            )
        return reports

    def _ranked(self, diagnosis_K: np.ndarray) -> tuple[DiagnosisScore, ...]:
        scores = [
            DiagnosisScore(name=label, group=self.meta.groups[label], probability=min(1.0, probability))
            for label, probability in zip(self.meta.labels, diagnosis_K.tolist(), strict=True)
        ]
        return tuple(sorted(scores, key=lambda score: -score.probability))


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
