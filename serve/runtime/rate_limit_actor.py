"""The limiter of a cluster: one named Ray actor with the state of all limits.

It is detached, so that it survives every gateway and an update of the application. It ends by itself when no
gateway has called for a minute.
"""

import asyncio
from typing import Any

import ray
import ray.actor
import ray.serve
from ray.exceptions import ActorDiedError

from serve.runtime.detached_actor import detached_actor
from serve.runtime.limit_ledger import Call, LimitLedger, Reply
from serve.runtime.quota_file import QuotaFile
from serve.runtime.token_bucket import DailyQuota

SAVE_INTERVAL_S = 2.0
SWEEP_INTERVAL_S = 10.0
END_AFTER_S = 60.0
_PROTOCOL = 1
"""Of calls and replies: two versions of the code use different actors."""


class Limiter:
    """Run the ledger in an actor, save its photo counts, and end when unused.

    Args:
        quota_folder: of the file with the photo counts; None: only in memory.
        is_replacement: of a limiter that has ended.
        end_after_s: without a gateway.
    """

    def __init__(self, quota_folder: str | None, *, is_replacement: bool, end_after_s: float) -> None:
        self._end_after_s = end_after_s
        self._file = QuotaFile(quota_folder) if quota_folder else None
        quotas: dict[str, DailyQuota] = {}
        self._problem = ""
        if self._file is not None:
            quotas, self._problem = self._file.load()
        is_restart = bool(ray.get_runtime_context().was_current_actor_reconstructed)
        self._ledger = LimitLedger(starts_empty=is_replacement or is_restart, quotas=quotas)
        self._num_saved = 0
        self._upkeep: asyncio.Task[None] | None = None

    async def exchange(self, call: Call) -> Reply:
        """Take back and grant the leases of one gateway."""
        if self._upkeep is None:
            self._upkeep = asyncio.create_task(self._run_upkeep())
        return self._ledger.exchange(*call)._replace(problem=self._problem)

    async def _run_upkeep(self) -> None:
        loop = asyncio.get_running_loop()
        last_used = last_sweep = loop.time()
        while loop.time() < last_used + self._end_after_s:
            await asyncio.sleep(SAVE_INTERVAL_S)
            await self._save()
            if self._ledger.num_gateways():
                last_used = loop.time()
            if loop.time() >= last_sweep + SWEEP_INTERVAL_S:
                last_sweep = loop.time()
                self._ledger.sweep()
        ray.actor.exit_actor()

    async def _save(self) -> None:
        if self._file is not None and self._ledger.num_changes != self._num_saved:
            num_changes, quotas = self._ledger.num_changes, self._ledger.saved_quotas()
            self._problem = await asyncio.to_thread(self._file.save, quotas)
            if not self._problem:
                self._num_saved = num_changes


def connect_limiter(quota_folder: str | None) -> "LimiterClient":
    """Return a client of the limiter of the running Serve application; the actor starts meanwhile."""
    client = LimiterClient(ray.serve.get_replica_context().app_name, quota_folder)
    client.connect()
    return client


class LimiterClient:
    """Call the limiter of one application; create it when it is missing.

    Args:
        application: name of the Serve application, which has a limiter of its own.
    """

    def __init__(
        self, application: str, quota_folder: str | None, *, end_after_s: float = END_AFTER_S
    ) -> None:
        self._name = actor_name(application, quota_folder)
        self._quota_folder = quota_folder
        self._end_after_s = end_after_s
        self._handle: Any = None
        self._has_ended = False

    def connect(self) -> None:
        """Find or create the actor; return before it runs."""
        self._handle = detached_actor(Limiter, self._name).remote(
            self._quota_folder, is_replacement=self._has_ended, end_after_s=self._end_after_s
        )

    async def __call__(self, call: Call) -> Reply:
        """Send a call and return the reply.

        Raises:
            RayError: the actor has ended or cannot be reached.
        """
        if self._handle is None:
            await asyncio.to_thread(self.connect)
        handle: Any = self._handle
        try:
            return await handle.exchange.remote(call)
        except ActorDiedError:  # for good: another one takes its name
            self._handle, self._has_ended = None, True
            raise


def actor_name(application: str, quota_folder: str | None) -> str:
    """Return the name of the limiter in its namespace; each ``quota_folder`` has its own."""
    return f"limiter-{_PROTOCOL}:{application}:{quota_folder or ''}"
