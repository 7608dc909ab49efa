"""The face stage as a deployment. Axes: H row, W column, C colour."""

import numpy as np
import ray.serve

from serve.config import FaceConfig
from serve.messages import FaceReport
from serve.runtime.batching import DynamicBatcher
from serve.runtime.gpu_memory import limit_gpu_memory
from serve.runtime.threads import compute_threads, load_in_throwaway_thread


@ray.serve.deployment(health_check_period_s=5, health_check_timeout_s=60)
class FaceDetector:
    """Finds and cuts out the largest face of each photo.

    Photos of all requests share batches. "No face" is an answer, ``None``; only the gateway refuses it.
    """

    def __init__(self, config: FaceConfig, size_px: int) -> None:
        from models.face.detector import MtcnnFaceDetector  # here, as in serve.lesion.deployment

        limit_gpu_memory(config.device)
        self._find = load_in_throwaway_thread(
            lambda: MtcnnFaceDetector(device=config.device, size_px=size_px, num_threads=config.num_threads)
        )
        self._batcher = DynamicBatcher(
            self._find_batch,
            self._find.ping,
            max_size=config.max_batch_size,
            threads=compute_threads(config.device, config.num_threads),
        )

    async def find(self, image_HWC: np.ndarray) -> FaceReport | None:
        """Find the face of one photo, uint8, of any size, together with those that wait beside it."""
        return await self._batcher.submit(image_HWC)

    async def check_health(self) -> None:
        """Raise if MTCNN no longer answers; Serve then replaces this replica."""
        await self._batcher.check_alive()

    def _find_batch(self, image_HWC: list[np.ndarray]) -> list[FaceReport | None]:
        return [
            face and FaceReport(box=face.box, confidence=face.confidence, crop_HWC=face.crop_HWC)
            for face in self._find(image_HWC)
        ]
