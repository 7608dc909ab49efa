"""Readiness: every model has recently answered a warm-up batch."""

import asyncio
import time
from collections.abc import Mapping

from serve.runtime.replica_client import ModelClient
from serve.schemas import Health

FRESH_S = 5.0
"""A model that answered within this time is not probed again."""
PROBE_TIMEOUT_S = 2.0
"""Longest wait of one readiness request; warm-up batches continue after it."""
WARM_UP_TIMEOUT_S = 30.0
"""Time after which a warm-up batch is cancelled; the next request starts another."""


class Readiness:
    """Probe the models with warm-up batches and cache the results.

    A model is ready for ``ready_after_s`` after its last answer: long enough that a full queue does not
    remove the server from its load balancer, short enough that a dead model does.
    """

    def __init__(self, replicas: Mapping[str, ModelClient], *, ready_after_s: float) -> None:
        self._replicas = replicas
        self._ready_after_s = ready_after_s
        self._answered_at: dict[str, float] = {}
        self._probes: dict[str, asyncio.Task[None]] = {}

    async def check(self) -> Health:
        """Probe models without a recent answer; return which are not ready."""
        probes = [self._probe(name) for name in self._older_than(FRESH_S)]
        if probes:
            await asyncio.wait(probes, timeout=PROBE_TIMEOUT_S)
        waiting_for = self._older_than(self._ready_after_s)
        return Health(status="starting" if waiting_for else "ok", waiting_for=waiting_for)

    def _older_than(self, age_s: float) -> list[str]:
        since = time.monotonic() - age_s
        return [name for name in self._replicas if self._answered_at.get(name, -float("inf")) < since]

    def _probe(self, name: str) -> asyncio.Task[None]:
        task = self._probes.get(name)
        if task is None or task.done():
            task = self._probes[name] = asyncio.create_task(self._run_warm_up(name))
        return task

    async def _run_warm_up(self, name: str) -> None:
        try:
            async with asyncio.timeout(WARM_UP_TIMEOUT_S):
                await self._replicas[name].call("check_health")
        except Exception:  # any error means that the model is not ready; the next request probes again
            return
        self._answered_at[name] = time.monotonic()
