"""The networks as the gateway sees them: stages that answer, wherever they run. Axes: see ``messages``."""

import asyncio
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle

from serve.errors import overloaded
from serve.messages import FaceReport, LesionReport, ProgressReport, Series, Spot
from serve.schemas import LoadedModel

StageName = Literal["lesion", "face", "progress"]
STAGES: tuple[StageName, ...] = ("lesion", "face", "progress")


class Stages(Protocol):
    """What the routes need; tests put a fake here."""

    async def classify_lesion(self, spot: Spot) -> LesionReport:
        """Classify one photo of a spot."""
        ...

    async def find_face(self, image_HWC: np.ndarray) -> FaceReport | None:
        """Find the largest face of one photo."""
        ...

    async def classify_progress(self, series: Series) -> ProgressReport:
        """Classify one series of faces."""
        ...

    async def describe(self) -> Sequence[LoadedModel]:
        """Say what is loaded."""
        ...

    async def ping(self, stage: StageName) -> None:
        """Let a stage answer a warm-up batch, or raise."""
        ...


class ServeStages:
    """The stages as deployments of Ray Serve."""

    def __init__(self, handles: dict[StageName, DeploymentHandle], *, retry_after_s: int) -> None:
        self._handles = handles
        self._retry_after_s = retry_after_s

    async def classify_lesion(self, spot: Spot) -> LesionReport:
        """Classify one photo of a spot."""
        return await self._ask("lesion", "classify", spot)

    async def find_face(self, image_HWC: np.ndarray) -> FaceReport | None:
        """Find the largest face of one photo."""
        return await self._ask("face", "find", image_HWC)

    async def classify_progress(self, series: Series) -> ProgressReport:
        """Classify one series of faces."""
        return await self._ask("progress", "classify", series)

    async def describe(self) -> Sequence[LoadedModel]:
        """Say what is loaded."""
        return await asyncio.gather(self._ask("lesion", "describe"), self._ask("progress", "describe"))

    async def ping(self, stage: StageName) -> None:
        """Let a stage answer a warm-up batch, or raise."""
        await self._ask(stage, "ping")

    async def _ask(self, stage: StageName, method: str, *arguments: object) -> Any:
        """Call a replica, and call it off when nobody waits for its answer any more."""
        response = getattr(self._handles[stage], method).remote(*arguments)
        try:
            return await response
        except asyncio.CancelledError:
            response.cancel()
            raise
        except BackPressureError as error:
            raise overloaded("the queue of photos is full", self._retry_after_s) from error
