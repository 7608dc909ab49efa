"""Deployments of the face detector and the progress network.

Axes: B series of a batch, T photo of a series, H row, W column, C colour.
"""

from typing import TYPE_CHECKING

import numpy as np
import ray.serve

from models.checkpoint import CheckpointError, CheckpointMeta, local_checkpoint, read_model_card
from models.progress.verdict import VerdictThresholds
from serve.progress.config import FaceDetectorConfig, ProgressConfig
from serve.progress.messages import FaceReport, FaceSeries, ProgressReport
from serve.runtime.batching import DynamicBatcher
from serve.runtime.gpu_memory import limit_gpu_memory
from serve.runtime.loaded_model import loaded_model
from serve.runtime.threads import compute_threads, load_in_throwaway_thread
from serve.schemas import LoadedModel, ModelName

if TYPE_CHECKING:
    from models.face.detector import Face

# PyTorch is imported in the constructors, as in serve.lesion.deployment.


@ray.serve.deployment(health_check_period_s=5, health_check_timeout_s=60)
class FaceDetector:
    """Detect, crop and describe the largest face of each photo; photos of all requests share batches.

    Args:
        crop_px: input size of the progress network.
    """

    def __init__(self, config: FaceDetectorConfig, crop_px: int) -> None:
        from models.face.descriptor import load_face_descriptor
        from models.face.detector import MtcnnFaceDetector

        limit_gpu_memory(config.device)
        folder = local_checkpoint(config.descriptor) if config.descriptor else None
        self._descriptor = (
            load_in_throwaway_thread(lambda: load_face_descriptor(folder, device=config.device))
            if folder
            else None
        )
        self._detector = load_in_throwaway_thread(
            lambda: MtcnnFaceDetector(device=config.device, size_px=crop_px, num_threads=config.num_threads)
        )
        self._batcher = DynamicBatcher(
            self._detect_batch,
            self._detector.ping,
            max_size=config.max_batch_size,
            threads=compute_threads(config.device, config.num_threads),
        )

    async def detect(self, image_HWC: np.ndarray) -> FaceReport | None:
        """Detect the face of one photo, uint8, of any size, in a batch with other photos."""
        return await self._batcher.submit(image_HWC)

    async def check_health(self) -> None:
        """Raise if the detector no longer answers; Serve then replaces this replica."""
        await self._batcher.check_alive()

    def _detect_batch(self, image_HWC: list[np.ndarray]) -> list[FaceReport | None]:
        faces = self._detector(image_HWC)
        descriptors = iter(self._describe(image_HWC, faces))
        return [
            face
            and FaceReport(
                box=face.box,
                confidence=face.confidence,
                crop_HWC=face.crop_HWC,
                descriptor_D=next(descriptors, None),
                same_person_distance=self._descriptor.max_distance if self._descriptor else 0.0,
            )
            for face in faces
        ]

    def _describe(self, image_HWC: list[np.ndarray], faces: "list[Face | None]") -> list[np.ndarray]:
        """Return the descriptor of each face that was found; nothing without a face descriptor."""
        from models.face.descriptor import crop_for_descriptor

        crops = [
            crop_for_descriptor(image, face)
            for image, face in zip(image_HWC, faces, strict=True)
            if face is not None
        ]
        return list(self._descriptor(np.stack(crops))) if self._descriptor and crops else []


@ray.serve.deployment(max_ongoing_requests=64, health_check_period_s=5, health_check_timeout_s=60)
class ProgressClassifier:
    """Serve one progress network on one device."""

    def __init__(self, config: ProgressConfig) -> None:
        from models.progress.engine import load_progress_engine

        folder = local_checkpoint(config.checkpoint)
        limit_gpu_memory(config.device)
        self._engine = load_in_throwaway_thread(
            lambda: load_progress_engine(folder, device=config.device, num_threads=config.num_threads)
        )
        self.meta = self._engine.meta
        self._thresholds = _thresholds_of(self.meta)
        self._model = ModelName(name=self.meta.name, version=self.meta.version)
        self._model_card = read_model_card(folder)
        self._batcher = DynamicBatcher(
            self._classify_batch,
            self._engine.ping,
            max_size=config.max_batch_size,
            size_of=lambda series: len(series.present_T),
            threads=compute_threads(config.device, config.num_threads),
        )

    async def classify(self, series: FaceSeries) -> ProgressReport:
        """Classify one series, in a batch with others."""
        return await self._batcher.submit(series)

    async def check_health(self) -> None:
        """Raise if the engine no longer answers; Serve then replaces this replica."""
        await self._batcher.check_alive()

    def describe(self) -> LoadedModel:
        """Describe the loaded network for ``GET /v1/models``."""
        engine = self._engine
        return loaded_model(
            self.meta, device=engine.device, engine=engine.runtime, model_card=self._model_card
        )

    def _classify_batch(self, batch: list[FaceSeries]) -> list[ProgressReport]:
        longest = max(len(series.present_T) for series in batch)
        crop_BTHWC = np.stack([_padded(series.crop_THWC, longest) for series in batch])
        present_BT = np.stack([_padded(series.present_T, longest) for series in batch])
        improved_BT = self._engine(crop_BTHWC, present_BT).improved_BT
        return [
            ProgressReport(
                model=self._model,
                thresholds=self._thresholds,
                improved_T=tuple(improved_T[: len(series.present_T)].tolist()),
            )
            for improved_T, series in zip(improved_BT, batch, strict=True)
        ]


def _thresholds_of(meta: CheckpointMeta) -> VerdictThresholds:
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
