"""Whether every model answers, told from answers and not from having been started."""

import asyncio
import time

from serve.runtime.replica_client import STAGES, StageName, Stages
from serve.schemas import Health

FRESH_S = 5.0
"""A model that answered a warm-up batch this recently is not asked again."""
PROBE_TIMEOUT_S = 2.0
"""How long a probe waits for warm-up batches; they go on when it has left."""
WARM_UP_TIMEOUT_S = 30.0
"""After it a warm-up batch is called off, and the next probe asks anew."""


class Readiness:
    """Keeps when each model last answered a warm-up batch, and asks again when somebody wants to know.

    A model counts as ready for ``ready_after_s`` after its last answer: long enough that a full queue does
    not take the server out of its load balancer, short enough that a model that died does.
    """

    def __init__(self, stages: Stages, *, ready_after_s: float) -> None:
        self._stages = stages
        self._ready_after_s = ready_after_s
        self._answered_at: dict[StageName, float] = {}
        self._asking: dict[StageName, asyncio.Task[None]] = {}

    async def check(self) -> Health:
        """Ask the models that have not answered lately, and name the ones that are still awaited."""
        asked = [self._ask(stage) for stage in self._older_than(FRESH_S)]
        if asked:
            await asyncio.wait(asked, timeout=PROBE_TIMEOUT_S)
        waiting_for = self._older_than(self._ready_after_s)
        return Health(status="starting" if waiting_for else "ok", waiting_for=list(waiting_for))

    def _older_than(self, age_s: float) -> list[StageName]:
        since = time.monotonic() - age_s
        return [stage for stage in STAGES if self._answered_at.get(stage, -float("inf")) < since]

    def _ask(self, stage: StageName) -> asyncio.Task[None]:
        task = self._asking.get(stage)
        if task is None or task.done():
            task = self._asking[stage] = asyncio.create_task(self._note_answer(stage))
        return task

    async def _note_answer(self, stage: StageName) -> None:
        try:
            async with asyncio.timeout(WARM_UP_TIMEOUT_S):
                await self._stages.ping(stage)
        except Exception:  # whatever it was, the model has not answered; the next probe asks again
            return
        self._answered_at[stage] = time.monotonic()
