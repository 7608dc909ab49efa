"""Sum the answer counts of all gateways, and roll back canaries that exceed a bound.

The monitor is one named Ray actor. It is detached, so that it survives every gateway, and ends when unused.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import ray
import ray.actor
import ray.serve
from ray.exceptions import ActorDiedError, AsyncioActorExit

from models.errors import SkinserveError
from models.registry import Registry
from models.registry_index import Index
from serve.config import CanaryLimits
from serve.runtime.canary_rules import AnswerCounts, Violation, find_violation
from serve.runtime.detached_actor import detached_actor

END_AFTER_S = 60.0
"""Without a report of a gateway."""
RETRY_WRITE_S = 10.0
NUM_SLICES = 60
"""Of a window; the oldest slice is dropped as a whole."""
_PROTOCOL = 1
"""Of calls and replies: two versions of the code use different actors."""


class TrialKey(NamedTuple):
    """One trial of a canary against one production."""

    task: str
    production: str
    canary: str
    started_at: str


@dataclass(frozen=True, kw_only=True)
class TrialReport:
    """Answers of one gateway since its last report."""

    key: TrialKey
    production: AnswerCounts
    canary: AnswerCounts


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """Rollback of a canary that exceeds a bound."""

    key: TrialKey
    violation: Violation
    is_new: bool
    """True in the first reply with it, so that one gateway counts it."""
    problem: str = ""
    """Why the registry could not be written; empty if it was."""


Exchange = Callable[[Sequence[TrialReport]], Awaitable[list[Rollback]]]


@dataclass(kw_only=True)
class _Slice:
    began: float
    production: AnswerCounts = field(default_factory=AnswerCounts)
    canary: AnswerCounts = field(default_factory=AnswerCounts)


class TrialWindow:
    """Answers of both models in a sliding window of time."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._slices: deque[_Slice] = deque()

    def add(self, report: TrialReport, now: float) -> None:
        """Add a report and drop what is older than the window."""
        if not self._slices or now >= self._slices[-1].began + self._window_s / NUM_SLICES:
            self._slices.append(_Slice(began=now))
        self._slices[-1].production.add(report.production)
        self._slices[-1].canary.add(report.canary)
        while self._slices[0].began < now - self._window_s:
            self._slices.popleft()

    def totals(self) -> tuple[AnswerCounts, AnswerCounts]:
        """Return the counts of production and canary."""
        production, canary = AnswerCounts(), AnswerCounts()
        for one in self._slices:
            production.add(one.production)
            canary.add(one.canary)
        return production, canary

    @property
    def last_used(self) -> float:
        """Return the start of the latest slice, seconds on the monotonic clock."""
        return self._slices[-1].began if self._slices else 0.0


class CanaryMonitor:
    """Compare the canaries of all tasks with production.

    Args:
        registry: address; a rollback is written to its index.
        limits: bounds of every canary.
    """

    def __init__(
        self, registry: str, limits: CanaryLimits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._registry = Registry(registry)
        self._limits = limits
        self._clock = clock
        self._windows: dict[TrialKey, TrialWindow] = {}
        self._rollbacks: dict[TrialKey, Violation] = {}
        self._unwritten: dict[TrialKey, float] = {}
        """Time of the next attempt."""
        self._problems: dict[TrialKey, str] = {}

    async def exchange(self, reports: Sequence[TrialReport]) -> list[Rollback]:
        """Add the counts of one gateway; return the reported canaries that must stop."""
        now, rollbacks = self._clock(), []
        for report in reports:
            key = report.key
            is_new = False
            if key not in self._rollbacks:
                window = self._windows.setdefault(key, TrialWindow(self._limits.window_s))
                window.add(report, now)
                if violation := find_violation(*window.totals(), self._limits):
                    self._rollbacks[key], self._unwritten[key], is_new = violation, now, True
            if key in self._rollbacks:
                await self._write(key, now)
                problem = self._problems.get(key, "")
                rollbacks.append(
                    Rollback(key=key, violation=self._rollbacks[key], is_new=is_new, problem=problem)
                )
        old = now - self._limits.window_s
        self._windows = {key: one for key, one in self._windows.items() if one.last_used >= old}
        return rollbacks

    async def _write(self, key: TrialKey, now: float) -> None:
        """Make the canary a candidate in the index; retry after ``RETRY_WRITE_S``."""
        if self._unwritten.get(key, now + 1) > now:
            return
        self._unwritten[key] = now + RETRY_WRITE_S
        reason = f"rolled back automatically; {self._rollbacks[key].description}"
        try:
            await asyncio.to_thread(
                self._registry.change, key.task, lambda index: without_canary(index, key, reason)
            )
        except SkinserveError as error:
            self._problems[key] = str(error)
        else:
            self._unwritten.pop(key, None)
            self._problems.pop(key, None)


def without_canary(index: Index, key: TrialKey, reason: str) -> Index:
    """Make the canary of a trial a candidate, unless the index has another canary."""
    canary = index.canary
    if canary is None or (str(canary.id), canary.changed_at.isoformat()) != (key.canary, key.started_at):
        return index
    return index.with_candidate(canary.id, reason)


class CanaryMonitorActor:
    """Run the monitor in an actor that ends when it is unused."""

    def __init__(self, registry: str, limits: CanaryLimits, end_after_s: float) -> None:
        self._monitor = CanaryMonitor(registry, limits)
        self._end_after_s = end_after_s
        self._used_at = time.monotonic()
        self._end: asyncio.Task[None] | None = None

    async def exchange(self, reports: Sequence[TrialReport]) -> list[Rollback]:
        """Pass on a call of one gateway."""
        self._used_at = time.monotonic()
        if self._end is None:
            self._end = asyncio.create_task(self._end_when_unused())
        return await self._monitor.exchange(reports)

    async def _end_when_unused(self) -> None:
        while time.monotonic() < self._used_at + self._end_after_s:
            await asyncio.sleep(self._end_after_s / 4)
        with contextlib.suppress(AsyncioActorExit):  # the actor ends all the same
            ray.actor.exit_actor()


class CanaryMonitorClient:
    """Call the monitor of one application; create it when it is missing."""

    def __init__(
        self, application: str, registry: str, limits: CanaryLimits, *, end_after_s: float = END_AFTER_S
    ) -> None:
        self._name = f"canary-monitor-{_PROTOCOL}:{application}:{registry}"
        self._arguments = registry, limits, end_after_s
        self._handle: Any = None

    async def __call__(self, reports: Sequence[TrialReport]) -> list[Rollback]:
        """Send a report and return the rollbacks.

        Raises:
            RayError: the actor has ended or cannot be reached.
        """
        if self._handle is None:
            self._handle = await asyncio.to_thread(self._connect)
        try:
            return await self._handle.exchange.remote(reports)
        except ActorDiedError:  # for good: another one takes its name
            self._handle = None
            raise

    def _connect(self) -> Any:
        return detached_actor(CanaryMonitorActor, self._name).remote(*self._arguments)


def connect_monitor(registry: str, limits: CanaryLimits) -> CanaryMonitorClient:
    """Return a client of the monitor of the running Serve application."""
    return CanaryMonitorClient(ray.serve.get_replica_context().app_name, registry, limits)
