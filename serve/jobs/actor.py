"""The actor of jobs: one named Ray actor that runs the queue of a server.

It is detached, so that it survives every gateway and an update of the application. Ray restarts it when its
process or node ends, and it resumes its jobs from the store. It ends by itself when no gateway has called
for a minute. Decision: docs/decisions/0042-jobs.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Any

import ray
import ray.actor
import ray.serve
from ray.exceptions import AsyncioActorExit

from models.storage_errors import StorageError
from serve.jobs.config import JobsConfig
from serve.jobs.job_work import LostGatewayError
from serve.jobs.metrics import JobMetrics
from serve.jobs.records import JobRecord
from serve.jobs.runner import JobRunner, Rejection
from serve.jobs.scorer import PartFailure, PartRequest, ScoredPart
from serve.runtime.lost_replica import is_lost_replica

END_AFTER_S = 60.0
PART_TIMEOUT_S = 900.0
"""Of one call; the gateway drops the photos then."""
WAIT_TIMEOUT_S = 30.0

logger = logging.getLogger("skinserve")


class GatewayHandle:
    """Call the gateways of a Serve application through a handle.

    Args:
        application: its name.
        deployment: name of the gateways' deployment.
    """

    def __init__(self, application: str, deployment: str) -> None:
        self._names = application, deployment
        self._handle: Any = None

    async def score(self, request: PartRequest) -> ScoredPart | PartFailure:
        """Score a part on any gateway; raise LostGatewayError."""
        return await self._call("score_part", request, timeout_s=PART_TIMEOUT_S)

    async def wait(self) -> None:
        """Wait until a gateway answers; raise LostGatewayError."""
        await self._call("accept_parts", timeout_s=WAIT_TIMEOUT_S)

    async def _call(self, method: str, *arguments: object, timeout_s: float) -> Any:
        response: Any = None
        try:
            if self._handle is None:
                application, deployment = self._names
                self._handle = await asyncio.to_thread(
                    ray.serve.get_deployment_handle, deployment, app_name=application
                )
            response = getattr(self._handle, method).remote(*arguments)
            async with asyncio.timeout(timeout_s):
                return await response
        except TimeoutError:
            response.cancel()
            if method == "accept_parts":
                raise LostGatewayError(f"no gateway answers within {timeout_s:g} s") from None
            return PartFailure(reason=f"a gateway did not score a part within {timeout_s:g} s")
        except asyncio.CancelledError as error:
            if is_lost_replica(error):
                raise LostGatewayError("a gateway was stopped") from error
            if response is not None:
                response.cancel()
            raise
        except Exception as error:
            if is_lost_replica(error):
                raise LostGatewayError(f"a gateway ended ({type(error).__name__})") from error
            if method == "accept_parts":
                self._handle = None  # the application may have been deployed again
                raise LostGatewayError(f"no gateway answers ({type(error).__name__})") from error
            logger.exception("job %s: a part failed", getattr(arguments[0], "job", ""))
            return PartFailure(reason=f"a gateway failed on a part ({type(error).__name__})")


class JobsActor:
    """Run the jobs of one server.

    Args:
        application: of Serve.
        deployment: of the gateways.
        end_after_s: without a gateway.
    """

    def __init__(self, application: str, deployment: str, *, end_after_s: float = END_AFTER_S) -> None:
        self._gateways = GatewayHandle(application, deployment)
        self._metrics = JobMetrics(application)
        self._end_after_s = end_after_s
        self._runner: JobRunner | None = None
        self._newest = 0.0
        self._used_at = time.monotonic()
        self._end: asyncio.Task[None] | None = None

    async def heartbeat(self, config: JobsConfig, started_at: float) -> None:
        """Keep the actor alive; the settings of the gateway that started last apply."""
        self._used_at = time.monotonic()
        if self._end is None:
            self._end = asyncio.create_task(self._end_when_unused())
        if self._runner is not None and (started_at <= self._newest or self._runner.config == config):
            self._newest = max(self._newest, started_at)
            return
        old, self._newest = self._runner, started_at
        self._runner = JobRunner(config, self._gateways, self._metrics)
        if old is not None:
            await old.close()
        self._runner.start()

    async def reserve(self, id: str, caller: str) -> str | Rejection | None:
        """Reserve a new job, as ``JobRunner.reserve``; None while jobs are loaded."""
        if self._runner is None or not self._runner.is_loaded:
            return None
        return self._runner.reserve(id, caller)

    async def release(self, id: str) -> None:
        """Drop a job that was not created."""
        if self._runner is not None:
            await self._runner.release(id)

    async def add(self, record: JobRecord) -> None:
        """Queue a job whose record is stored."""
        if self._runner is not None:
            self._runner.add(record)

    async def delete(self, id: str) -> bool | None:
        """Cancel and delete a job; return whether it was known, None if it cannot be deleted now."""
        if self._runner is None or not self._runner.is_loaded:
            return None
        try:
            return await self._runner.delete(id)
        except StorageError:
            return None

    async def records(self, caller: str | None, limit: int) -> list[JobRecord] | None:
        """Return the newest jobs of a caller; None while they are loaded."""
        if self._runner is None or not self._runner.is_loaded:
            return None
        return self._runner.records(caller, limit)

    async def _end_when_unused(self) -> None:
        while time.monotonic() < self._used_at + self._end_after_s:
            await asyncio.sleep(self._end_after_s / 4)
        if self._runner is not None:
            await self._runner.close()
        with contextlib.suppress(AsyncioActorExit):  # the actor ends all the same
            ray.actor.exit_actor()
