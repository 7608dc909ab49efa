"""The face stage as a deployment. Axes: H row, W column, C colour."""

import asyncio
import threading

import numpy as np
import ray.serve

from serve.config import FaceConfig
from serve.messages import FaceReport


@ray.serve.deployment(max_ongoing_requests=64, max_queued_requests=1024)
class FaceDetector:
    """Finds and cuts out the largest face of each photo.

    Photos of all requests share batches. "No face" is an answer, ``None``; only the gateway refuses it.
    """

    def __init__(self, config: FaceConfig, size_px: int) -> None:
        from models.face import FaceFinder  # here, as in serve.lesion

        self._find = FaceFinder(device=config.device, size_px=size_px, num_threads=config.num_threads)
        self._one_at_a_time = threading.Lock()
        self._find.ping()
        self.find.set_max_batch_size(config.max_batch_size)  # pyright: ignore[reportAttributeAccessIssue]
        self.find.set_batch_wait_timeout_s(config.batch_wait_s)  # pyright: ignore[reportAttributeAccessIssue]

    @ray.serve.batch
    async def find(self, image_HWC: list[np.ndarray]) -> list[FaceReport | None]:
        """Find the faces of the photos that Serve gathered; each caller passes one, uint8, of any size."""
        return await asyncio.to_thread(self._find_batch, image_HWC)

    async def ping(self) -> None:
        """Answer a warm-up batch, or raise."""
        await asyncio.to_thread(self.check_health)

    def check_health(self) -> None:
        """Raise if MTCNN no longer answers; Serve then replaces this replica."""
        with self._one_at_a_time:
            self._find.ping()

    def _find_batch(self, image_HWC: list[np.ndarray]) -> list[FaceReport | None]:
        with self._one_at_a_time:
            faces = self._find(image_HWC)
        return [
            face and FaceReport(box=face.box, confidence=face.confidence, crop_HWC=face.crop_HWC)
            for face in faces
        ]
