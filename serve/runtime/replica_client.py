"""The networks as the gateway sees them: stages that answer, wherever they run. Axes: see ``messages``."""

import asyncio
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import grpc
import numpy as np
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from serve.messages import FaceReport, Full, LesionReport, ProgressReport, Series, Spot
from serve.runtime.coalescing import Bundles
from serve.runtime.errors import QueueFullError, overloaded
from serve.schemas import LoadedModel

StageName = Literal["lesion", "face", "progress"]
STAGES: tuple[StageName, ...] = ("lesion", "face", "progress")
FULL_STAGE_WAIT_S = 0.2
"""After it, a stage that was full is asked again."""


class LostCallError(RuntimeError):
    """A replica ended and called off what it had taken in."""


class FullReplicaError(RuntimeError):
    """A replica takes in no more photos; another one may."""


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

    def __init__(
        self, handles: dict[StageName, DeploymentHandle], *, bundle_from: int, retry_after_s: int
    ) -> None:
        self._handles = handles
        self._retry_after_s = retry_after_s
        self._spots = Bundles[Spot, LesionReport](self._classify_spots, busy=bundle_from)

    async def classify_lesion(self, spot: Spot) -> LesionReport:
        """Classify one photo of a spot."""
        return await self._spots.ask(spot)

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
        """Let a stage prove that it works, or raise."""
        await self._ask(stage, "check_health")

    async def _classify_spots(self, spots: list[Spot]) -> list[LesionReport]:
        return await self._ask("lesion", "classify", spots)

    async def _ask(self, stage: StageName, method: str, *arguments: object) -> Any:
        """Call a replica; when it is lost over the call, call another, once: to answer twice harms nobody.

        Who was let in before is not refused when the others are full, but waits for them until its deadline.
        """
        lost = full = False
        while True:
            try:
                return await self._call(stage, method, *arguments)
            except (BackPressureError, FullReplicaError) as error:
                if isinstance(error, FullReplicaError) and not full:
                    full = True  # Serve, which counts calls and not photos, may choose another one now
                    continue
                if not lost:
                    raise QueueFullError(self._retry_after_s) from error
                await asyncio.sleep(FULL_STAGE_WAIT_S)
            except Exception as error:
                if not _is_lost(error):
                    raise
                if lost:
                    raise overloaded(f"the {stage} stage is being restarted", self._retry_after_s) from error
                lost = True

    async def _call(self, stage: StageName, method: str, *arguments: object) -> Any:
        """Call a replica, and call it off when nobody waits for its answer any more."""
        response = getattr(self._handles[stage], method).remote(*arguments)
        try:
            answer = await response
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                response.cancel()
                raise
            raise LostCallError(f"a replica of the {stage} stage ended over {method}") from error
        if isinstance(answer, Full):
            raise FullReplicaError(f"{answer.num_photos} photos are in work")
        return answer


def _is_lost(error: Exception) -> bool:
    """Whether the replica died or ended, and it is no error of our code in it."""
    if isinstance(error, RayTaskError):
        return False
    if isinstance(error, LostCallError | RayActorError | DeploymentUnavailableError | grpc.RpcError):
        return True
    # What Serve makes of a connection that breaks before the replica says whether it takes the request.
    return isinstance(error, RuntimeError) and str(error).startswith("Unexpected error (")
