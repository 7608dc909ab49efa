"""The lesion network as a deployment. Axes: B photo of a batch, H row, W column, C colour, K diagnosis."""

import asyncio
from collections.abc import Sequence

import numpy as np
import ray.serve

from models.checkpoint import local_checkpoint, read_model_card
from models.diagnoses import GROUPS
from serve.config import LesionConfig
from serve.messages import Full, LesionReport, Spot, loaded_model, threshold_of, verdict_of
from serve.runtime.autoscaling import Load, PhotoMeter
from serve.runtime.batching import DynamicBatcher
from serve.runtime.gpu_memory import limit_gpu_memory
from serve.runtime.threads import ONE_THREAD, compute_threads, load_in_throwaway_thread
from serve.schemas import DiagnosisScore, LoadedModel, ModelName


@ray.serve.deployment(health_check_period_s=5, health_check_timeout_s=60)
class LesionClassifier:
    """Serves one lesion network from one device.

    Weights load in ``__init__``, so a bad checkpoint stops the rollout, not a patient's request.
    """

    def __init__(self, config: LesionConfig) -> None:
        # Here and not above: the process that only binds the deployments does not load PyTorch.
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
        self._threshold = threshold_of(self.meta, "malignant")
        self._naming_threshold = threshold_of(self.meta, "name_diagnosis")
        self._model = ModelName(name=self.meta.name, version=self.meta.version)
        self._model_card = read_model_card(folder)
        apart = self._engine.supports_concurrent_calls
        self._batcher = DynamicBatcher(
            self._classify_batch,
            self._engine.ping,
            max_size=config.max_batch_size,
            threads=compute_threads(config.device, config.num_threads) if apart else ONE_THREAD,
        )
        self._held = PhotoMeter()
        self._most_held = config.max_photos or 3 * config.max_batch_size

    async def classify(self, spots: Sequence[Spot]) -> list[LesionReport] | Full:
        """Classify a few photos, together with those that wait beside them; if one fails, all do.

        Where so many wait already that none is taken in, the answer is ``Full``: Serve only counts calls.
        """
        if self._held.number >= self._most_held:
            return Full(num_photos=self._held.number)
        with self._held.hold(len(spots)):
            asked = (self._batcher.submit(spot) for spot in spots)
            reports = await asyncio.gather(*asked, return_exceptions=True)  # all, so that all are counted
        for report in reports:
            if isinstance(report, BaseException):
                raise report
        return [report for report in reports if isinstance(report, LesionReport)]

    async def record_autoscaling_stats(self) -> dict[Load, float]:  # async: in the thread of ``classify``
        """Tell Serve how many photos this replica holds, for ``TargetLoadPolicy``."""
        return self._held()

    async def check_health(self) -> None:
        """Raise if the engine no longer answers; Serve then replaces this replica."""
        await self._batcher.check_alive()

    def describe(self) -> LoadedModel:
        """Say what is loaded, for ``GET /v1/models``."""
        engine = self._engine
        return loaded_model(
            self.meta,
            device=engine.device,
            engine=engine.runtime,
            cuda_graphs=engine.uses_cuda_graphs,
            model_card=self._model_card,
        )

    def _classify_batch(self, spots: list[Spot]) -> list[LesionReport]:
        image_BHWC = np.stack([spot.image_HWC for spot in spots])
        answer = self._engine(image_BHWC, explain=[i for i, spot in enumerate(spots) if spot.explain])
        reports: list[LesionReport] = []
        for index, malignant in enumerate(answer.malignant_B.tolist()):
            grad_cam_RHW = answer.grad_cam_RHW.get(index)
            verdict = verdict_of(malignant, self._threshold)
            reports.append(
                LesionReport(
                    model=self._model,
                    malignant_probability=malignant,
                    threshold=self._threshold,
                    naming_threshold=self._naming_threshold,
                    diagnoses=self._ranked(answer.diagnosis_BK[index]),
                    heat_HW=None if grad_cam_RHW is None else grad_cam_RHW[GROUPS.index(verdict)],
                )
            )
        return reports

    def _ranked(self, diagnosis_K: np.ndarray) -> tuple[DiagnosisScore, ...]:
        scores = [
            DiagnosisScore(name=label, group=self.meta.groups[label], probability=min(1.0, probability))
            for label, probability in zip(self.meta.labels, diagnosis_K.tolist(), strict=True)
        ]
        return tuple(sorted(scores, key=lambda score: -score.probability))
