"""Deployments of the face detector and the progress models.

Axes: H row, W column, C colour.
"""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import ray.serve

from models.checkpoint import local_checkpoint
from models.face.alignment import eyes_of
from serve.progress.config import FaceDetectorConfig, ProgressConfig
from serve.progress.messages import FaceReport, FaceSeries, ProgressReport
from serve.progress.replica_model import load_progress_model
from serve.runtime.batching import BatchThreads, DynamicBatcher
from serve.runtime.freed_memory import return_freed_memory
from serve.runtime.gpu_memory import limit_gpu_memory
from serve.runtime.model_cache import LoadFailed, ModelCache, ModelRuntime
from serve.runtime.threads import compute_threads

if TYPE_CHECKING:
    from models.face.detector import Face

# ONNX Runtime, or PyTorch for a GPU, is imported in the constructors: processes that build the application
# need neither.


@ray.serve.deployment(health_check_period_s=5, health_check_timeout_s=60)
class FaceDetector:
    """Detect, crop and describe the largest face of each photo, batched over requests."""

    def __init__(self, config: FaceDetectorConfig) -> None:
        from models.face.descriptor import load_face_descriptor
        from models.face.detector import MtcnnFaceDetector

        self._descriptor = None
        if config.descriptor:
            self._descriptor = load_face_descriptor(local_checkpoint(config.descriptor))
            self._descriptor.ping()
        self._detector = MtcnnFaceDetector()
        self._detector.ping()
        return_freed_memory()
        self._batcher = DynamicBatcher(
            self._detect_batch,
            self._detector.ping,
            max_size=config.max_batch_size,
            threads=BatchThreads(compute_threads("cpu", config.num_threads)),
            network="face",
        )

    async def detect(self, image_HWC: np.ndarray, crop_px: int) -> FaceReport | None:
        """Detect the face of one photo, in a batch with other photos.

        Args:
            image_HWC: uint8, of any size.
            crop_px: side of the face crop, the input of the progress network.
        """
        return await self._batcher.submit((image_HWC, crop_px))

    async def check_health(self) -> None:
        """Raise if the detector no longer answers; Serve then replaces this replica."""
        await self._batcher.check_alive()

    def _detect_batch(self, batch: list[tuple[np.ndarray, int]]) -> list[FaceReport | None]:
        image_HWC, crop_px = [image for image, _ in batch], [side for _, side in batch]
        faces = self._detector(image_HWC, crop_px)
        descriptors = iter(self._describe(image_HWC, faces))
        return [
            face
            and FaceReport(
                box=face.box,
                confidence=face.confidence,
                crop_HWC=face.crop_HWC,
                eyes=eyes_of(face.landmarks, face.box),
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
    """Serve the default progress model and others by multiplexed model id, on one device."""

    def __init__(self, config: ProgressConfig) -> None:
        limit_gpu_memory(config.device)
        threads = BatchThreads(compute_threads(config.device, config.num_threads))
        self.models = ModelCache[FaceSeries, ProgressReport](
            partial(load_progress_model, config, threads),
            default=config.checkpoints[0],
            max_models=config.max_models_per_replica,
        )

    async def classify(self, series: FaceSeries, model: str = "") -> ProgressReport | LoadFailed:
        """Classify one series, in a batch with others for the same model; default: the default model."""
        loaded = await self.models.get(model)
        return loaded if isinstance(loaded, LoadFailed) else await loaded.batcher.submit(series)

    async def preload(self, model: str) -> ModelRuntime | LoadFailed:
        """Load a model before the first request for it."""
        loaded = await self.models.get(model)
        return loaded if isinstance(loaded, LoadFailed) else loaded.runtime

    async def check_health(self) -> None:
        """Raise if the engine of a loaded model has failed; Serve then replaces this replica."""
        await self.models.check_health()

    async def describe(self) -> dict[str, ModelRuntime]:
        """Return device and engine of each loaded model by its address."""
        return self.models.runtimes()
