"""Readiness: every model has recently answered a warm-up batch."""

import asyncio
import time

from serve.runtime.replica_client import STAGES, StageName, Stages
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

    def __init__(self, stages: Stages, *, ready_after_s: float) -> None:
        self._stages = stages
        self._ready_after_s = ready_after_s
        self._answered_at: dict[StageName, float] = {}
        self._probes: dict[StageName, asyncio.Task[None]] = {}

    async def check(self) -> Health:
        """Probe models without a recent answer; return which are not ready."""
        probes = [self._probe(stage) for stage in self._older_than(FRESH_S)]
        if probes:
            await asyncio.wait(probes, timeout=PROBE_TIMEOUT_S)
        waiting_for = self._older_than(self._ready_after_s)
        return Health(status="starting" if waiting_for else "ok", waiting_for=list(waiting_for))

    def _older_than(self, age_s: float) -> list[StageName]:
        since = time.monotonic() - age_s
        return [stage for stage in STAGES if self._answered_at.get(stage, -float("inf")) < since]

    def _probe(self, stage: StageName) -> asyncio.Task[None]:
        task = self._probes.get(stage)
        if task is None or task.done():
            task = self._probes[stage] = asyncio.create_task(self._run_warm_up(stage))
        return task

    async def _run_warm_up(self, stage: StageName) -> None:
        try:
            async with asyncio.timeout(WARM_UP_TIMEOUT_S):
                await self._stages.ping(stage)
        except Exception:  # any error means that the model is not ready; the next request probes again
            return
        self._answered_at[stage] = time.monotonic()
