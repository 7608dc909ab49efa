"""Client of the actor of jobs in a gateway."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable
from typing import Any, Protocol

import ray
import ray.serve
from ray.exceptions import ActorDiedError, RayError

from serve.jobs.actor import END_AFTER_S, JobsActor
from serve.jobs.config import JobsConfig
from serve.jobs.records import JobRecord
from serve.jobs.runner import Rejection
from serve.runtime.detached_actor import detached_actor
from serve.runtime.errors import ApiError

HEARTBEAT_S = 5.0
CALL_TIMEOUT_S = 15.0
"""Of one request, in which the actor may be restarted."""
RETRY_PAUSE_S = 0.5
UNAVAILABLE = "the jobs of this server cannot be reached now; try again later"
_PROTOCOL = 2
"""Of calls and replies: two versions of the code use different actors."""

logger = logging.getLogger("skinserve")


class Jobs(Protocol):
    """Create, list and delete jobs; every method raises ``jobs_unavailable``."""

    def start(self) -> None:
        """Begin; call in an event loop."""
        ...

    async def close(self) -> None:
        """End."""
        ...

    async def reserve(self, id: str, caller: str) -> str | Rejection:
        """Reserve a new job; return its id, or why the caller may not create one."""
        ...

    async def release(self, id: str) -> None:
        """Drop a job that was not created."""
        ...

    async def add(self, record: JobRecord) -> None:
        """Queue a job whose record is stored."""
        ...

    async def delete(self, id: str) -> bool:
        """Cancel and delete a job; return whether it was known."""
        ...

    async def records(self, caller: str | None, limit: int) -> list[JobRecord]:
        """Return the newest jobs of a caller; None: of all."""
        ...


class JobsClient:
    """Call the actor of jobs of one application; create it when it is missing.

    Args:
        application: name of the Serve application.
        deployment: of the gateways.
    """

    def __init__(
        self, application: str, deployment: str, config: JobsConfig, *, end_after_s: float = END_AFTER_S
    ) -> None:
        self._name = actor_name(application, config.folder)
        self._arguments = application, deployment
        self._config = config
        self._end_after_s = end_after_s
        self._started_at = time.time()
        self._handle: Any = None
        self._heartbeats: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the heartbeats, which create the actor and let it resume its jobs."""
        if self._heartbeats is None or self._heartbeats.done():
            self._heartbeats = asyncio.get_running_loop().create_task(self._send_heartbeats())

    async def close(self) -> None:
        """Stop the heartbeats; the actor goes on."""
        if self._heartbeats is not None:
            self._heartbeats.cancel()

    async def reserve(self, id: str, caller: str) -> str | Rejection:
        """Reserve a new job; return its id, or why the caller may not create one."""
        return await self._call("reserve", id, caller)

    async def release(self, id: str) -> None:
        """Drop a job that was not created; a failure is ignored, the actor drops it later."""
        with contextlib.suppress(ApiError):
            await self._call("release", id, may_be_none=True)

    async def add(self, record: JobRecord) -> None:
        """Queue a job; a failure is ignored, the actor finds the record in the store."""
        with contextlib.suppress(ApiError):
            await self._call("add", record, may_be_none=True)

    async def delete(self, id: str) -> bool:
        """Cancel and delete a job; return whether it was known."""
        return await self._call("delete", id)

    async def records(self, caller: str | None, limit: int) -> list[JobRecord]:
        """Return the newest jobs of a caller; None: of all."""
        return await self._call("records", caller, limit)

    async def _send_heartbeats(self) -> None:
        is_logged = False
        while True:
            try:
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    await self._call_once("heartbeat", self._config, self._started_at)
                is_logged = False
            except (RayError, TimeoutError) as error:
                if not is_logged:
                    is_logged = True
                    logger.warning("jobs: the actor does not answer (%s)", type(error).__name__)
                await asyncio.sleep(RETRY_PAUSE_S)
                continue
            await asyncio.sleep(HEARTBEAT_S)

    async def _call(self, method: str, *arguments: object, may_be_none: bool = False) -> Any:
        """Call the actor; repeat a call that was lost, which all methods allow.

        Raises:
            ApiError: ``jobs_unavailable``.
        """
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                while True:
                    with contextlib.suppress(RayError):
                        reply = await self._call_once(method, *arguments)
                        if reply is not None or may_be_none:
                            return reply
                    await asyncio.sleep(RETRY_PAUSE_S)
        except TimeoutError as error:
            raise ApiError("jobs_unavailable", UNAVAILABLE) from error

    async def _call_once(self, method: str, *arguments: object) -> Any:
        if self._handle is None:
            self._handle = await asyncio.to_thread(self._connect)
        try:
            reply: Awaitable[Any] = getattr(self._handle, method).remote(*arguments)
            return await reply
        except ActorDiedError:  # for good: another one takes its name
            self._handle = None
            raise

    def _connect(self) -> Any:
        actor = detached_actor(JobsActor, self._name)
        try:
            return actor.remote(*self._arguments, end_after_s=self._end_after_s)
        except ValueError as error:  # the actor ended between Ray's two looks at its name
            raise RayError(f"the actor of jobs has just ended ({error})") from error


def actor_name(application: str, folder: str) -> str:
    """Return the name of the actor of jobs; each folder has its own."""
    return f"jobs-{_PROTOCOL}:{application}:{folder}"


def connect_jobs(config: JobsConfig) -> JobsClient:
    """Return a client of the jobs of the running Serve application."""
    context = ray.serve.get_replica_context()
    return JobsClient(context.app_name, context.deployment, config)
