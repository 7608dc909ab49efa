"""The networks as the gateway sees them: three stages that answer, wherever they run.

Axes: T photo of a series, H row, W column, C colour.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle

from serve.errors import overloaded
from serve.reports import FaceReport, LesionReport, ProgressReport
from serve.schemas import LoadedModel

STAGES = ("lesion", "face", "progress")


class Stages(Protocol):
    """What the routes need; tests put a fake here."""

    async def classify_lesion(self, image_HWC: np.ndarray, *, explain: bool) -> LesionReport:
        """Classify one photo."""
        ...

    async def find_face(self, image_HWC: np.ndarray) -> FaceReport | None:
        """Find the largest face of one photo."""
        ...

    async def classify_progress(self, crop_THWC: np.ndarray, present_T: np.ndarray) -> ProgressReport:
        """Classify one series of faces, oldest first."""
        ...

    async def describe(self) -> Sequence[LoadedModel]:
        """Say what is loaded."""
        ...

    async def ping(self, stage: str) -> None:
        """Let one of ``STAGES`` answer a warm-up batch, or raise."""
        ...


class ServeStages:
    """The stages as deployments of Ray Serve."""

    def __init__(
        self, lesion: DeploymentHandle, face: DeploymentHandle, progress: DeploymentHandle, *, retry_after_s: int
    ) -> None:
        self._lesion = lesion
        self._face = face
        self._progress = progress
        self._retry_after_s = retry_after_s

    async def classify_lesion(self, image_HWC: np.ndarray, *, explain: bool) -> LesionReport:
        """Classify one photo."""
        return await self._ask(self._lesion, "classify", image_HWC, explain)

    async def find_face(self, image_HWC: np.ndarray) -> FaceReport | None:
        """Find the largest face of one photo."""
        return await self._ask(self._face, "find", image_HWC)

    async def classify_progress(self, crop_THWC: np.ndarray, present_T: np.ndarray) -> ProgressReport:
        """Classify one series of faces, oldest first."""
        return await self._ask(self._progress, "classify", crop_THWC, present_T)

    async def describe(self) -> Sequence[LoadedModel]:
        """Say what is loaded."""
        return await asyncio.gather(self._ask(self._lesion, "describe"), self._ask(self._progress, "describe"))

    async def ping(self, stage: str) -> None:
        """Let one of ``STAGES`` answer a warm-up batch, or raise."""
        handle = dict(zip(STAGES, (self._lesion, self._face, self._progress), strict=True))[stage]
        await self._ask(handle, "ping")

    async def _ask(self, handle: DeploymentHandle, method: str, *arguments: object) -> Any:
        """Call a replica, and call it off when nobody waits for its answer any more."""
        response = getattr(handle, method).remote(*arguments)
        try:
            return await response
        except asyncio.CancelledError:
            response.cancel()
            raise
        except BackPressureError as error:
            raise overloaded("the queue of photos is full", self._retry_after_s) from error
