"""Serve the production and canary versions of the model registry in this gateway.

A new version is fetched, verified and loaded on the replicas before the first request for it. Any failure
leaves the running models in place. Decision: docs/decisions/0032-model-registry.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from starlette.types import ASGIApp, Receive, Scope, Send

from models.checkpoint import CheckpointError, local_checkpoint, verify_checkpoint
from models.errors import SkinserveError
from models.registry import Registry
from models.registry_files import hashes_of
from models.registry_index import REPAIR, CorruptIndexError, Index, ModelVersion, RegistryError
from serve.runtime import metrics
from serve.runtime.canary_monitor import Exchange, Rollback, TrialKey, TrialReport
from serve.runtime.canary_rules import AnswerCounts
from serve.runtime.errors import ApiError
from serve.runtime.model_cache import LoadFailed
from serve.runtime.model_catalog import CatalogEntry, read_entry
from serve.runtime.model_traffic import ModelTraffic, Trial
from serve.runtime.replica_client import ModelClient
from serve.task import Service

REPORT_INTERVAL_S = 2.0
FIRST_SYNC_TIMEOUT_S = 60.0
"""A gateway accepts requests after this time, even if the registry cannot be read."""
PRELOAD_TIMEOUT_S = 60.0

_LOGGER = logging.getLogger("skinserve")


class RegistryFollower:
    """Serve the production and canary versions of all tasks."""

    def __init__(
        self,
        registry: Registry,
        services: Mapping[str, Service],
        replicas: Mapping[str, ModelClient],
        traffic: ModelTraffic,
        exchange: Exchange,
        *,
        poll_s: float,
    ) -> None:
        self._tasks = {
            name: TaskFollower(name, registry, service, replicas[name], traffic)
            for name, service in services.items()
        }
        self._traffic = traffic
        self._exchange = exchange
        self._poll_s = poll_s
        self._loops: list[asyncio.Task[None]] = []
        self._exchange_failed = False

    async def start(self) -> None:
        """Apply the registry once, then follow its changes."""
        if self._loops:
            return
        self._loops = [asyncio.create_task(self._poll())]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_SYNC_TIMEOUT_S):
                await self._sync_or_log()
        self._loops.append(asyncio.create_task(self._report()))

    async def close(self) -> None:
        """Stop following."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)

    async def sync(self) -> None:
        """Read the registry once and apply it."""
        await asyncio.gather(*(task.sync() for task in self._tasks.values()))

    async def report(self) -> None:
        """Send the counts of all trials, and stop canaries that exceed a bound."""
        counts = self._traffic.take_counts()
        reports = [
            TrialReport(
                key=key,
                production=counts.get((key.task, key.production), AnswerCounts()),
                canary=counts.get((key.task, key.canary), AnswerCounts()),
            )
            for task in self._tasks.values()
            if (key := task.trial_key()) is not None
        ]
        if reports:
            for rollback in await self._exchange(reports):
                self._tasks[rollback.key.task].stop(rollback)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            await self._sync_or_log()

    async def _sync_or_log(self) -> None:
        try:
            await self.sync()
        except Exception:  # of any kind: the gateway goes on, and the next poll tries again
            _LOGGER.exception("the model registry cannot be followed")

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(REPORT_INTERVAL_S)
            try:
                await self.report()
                self._exchange_failed = False
            except RayError as error:
                if not self._exchange_failed:
                    _LOGGER.warning("canaries are not compared, the monitor does not answer: %s", error)
                self._exchange_failed = True


class TaskFollower:
    """Serve the production and canary versions of one task."""

    def __init__(
        self, task: str, registry: Registry, service: Service, replicas: ModelClient, traffic: ModelTraffic
    ) -> None:
        self._task = task
        self._registry = registry
        self._service = service
        self._replicas = replicas
        self._traffic = traffic
        self._settings = service.catalog.entries
        self._index = Index(task=task)
        self._verified: dict[str, tuple[Mapping[str, str], CatalogEntry]] = {}
        self._rolled_back: set[tuple[str, str]] = set()
        self._lock = asyncio.Lock()
        self._last_error = ""

    async def sync(self) -> None:
        """Read the index and apply it; log a failure once and keep the running models."""
        async with self._lock:
            try:
                index = await asyncio.to_thread(self._read)
            except SkinserveError as error:
                return self._fail([str(error)])
            errors: list[str] = []
            production = await self._ready(index.production, errors)
            if index.production is not None and production is None:
                production = self._service.catalog.default
            canary = await self._ready(index.canary, errors) if self._is_allowed(index.canary) else None
            if index.canary is not None and canary is None:
                canary = self._running_canary(index.canary)
            self._apply(index, production, canary if self._is_allowed(index.canary) else None)
            self._fail(errors)

    def trial_key(self) -> TrialKey | None:
        """Return the trial in progress."""
        trial = self._traffic.trials.get(self._task)
        if trial is None:
            return None
        production = self._service.catalog.default.selector
        return TrialKey(self._task, production, trial.entry.selector, trial.started_at)

    def stop(self, rollback: Rollback) -> None:
        """Stop a canary at once, before the index is read again, and report a new rollback."""
        key = rollback.key
        is_running = self.trial_key() == key
        if is_running:
            self._rolled_back.add((key.canary, key.started_at))
            del self._traffic.trials[self._task]
            entries = [one for one in self._service.catalog.entries if one.selector != key.canary]
            self._service.catalog.replace(entries)
        elif not rollback.is_new:
            return
        if rollback.is_new:
            metrics.canary_rollbacks().inc(tags={"task": self._task, "cause": rollback.violation.cause})
        recorded = f"; this cannot be recorded: {rollback.problem}" if rollback.problem else ""
        _LOGGER.warning(
            "canary %s %s is rolled back; %s%s",
            key.task,
            key.canary,
            rollback.violation.description,
            recorded,
        )

    def _read(self) -> Index:
        index = self._registry.read(self._task)
        if self._index.versions and not index.versions:
            raise CorruptIndexError(
                f"the {self._task} models of the registry {self._registry.address} are gone; put their "
                f"folders back, then {REPAIR}"
            )
        return index

    def _running_canary(self, version: ModelVersion) -> CatalogEntry | None:
        trial = self._traffic.trials.get(self._task)
        return trial.entry if trial is not None and trial.entry.selector == str(version.id) else None

    def _is_allowed(self, canary: ModelVersion | None) -> bool:
        return canary is not None and (str(canary.id), canary.changed_at.isoformat()) not in self._rolled_back

    async def _ready(self, version: ModelVersion | None, errors: list[str]) -> CatalogEntry | None:
        """Fetch, verify and load a version; on failure add to ``errors`` and return None."""
        if version is None:
            return None
        files, entry = self._verified.get(str(version.id), ({}, None))
        try:
            if entry is None or files != version.files:
                entry = await asyncio.to_thread(self._verify, version)
            await self._preload(entry)
            await self._service.prepare(entry)
        except (SkinserveError, ApiError, RayError, RayServeException, TimeoutError) as error:
            errors.append(f"{version.id} cannot be served: {error or type(error).__name__}")
            return None
        self._verified[str(version.id)] = version.files, entry
        return entry

    def _verify(self, version: ModelVersion) -> CatalogEntry:
        """Return the entry of a version whose files are those in the index."""
        for entry in self._settings:  # loaded already
            same_name = entry.selector == str(version.id)
            if same_name and hashes_of(str(local_checkpoint(entry.address))) == version.files:
                return entry
        address = self._registry.version_address(self._task, version.id)
        folder = local_checkpoint(address)
        meta = verify_checkpoint(folder)
        if (meta.kind, meta.name, meta.version) != (self._task, *version.id):
            raise CheckpointError(f"{address} holds the {meta.kind} checkpoint {meta.name}@{meta.version}")
        found = hashes_of(str(folder))
        if wrong := [name for name, sha256 in version.files.items() if found.get(name) != sha256]:
            raise RegistryError(f"{address}/{wrong[0]} is missing or differs from the index; push it again")
        return read_entry(address, self._task)

    async def _preload(self, entry: CatalogEntry) -> None:
        """Load a model on every replica; again at every poll, for new replicas."""
        if entry.address == self._settings[0].address:  # every replica has it from its start
            return
        results = await self._replicas.broadcast("preload", entry.address, timeout_s=PRELOAD_TIMEOUT_S)
        if not results:  # no replica runs yet
            results = [await self._replicas.call("preload", model=entry.address)]
        if failed := next((one for one in results if isinstance(one, LoadFailed)), None):
            raise CheckpointError(failed.reason)

    def _apply(self, index: Index, production: CatalogEntry | None, canary: CatalogEntry | None) -> None:
        catalog = self._service.catalog
        before = catalog.default.selector
        entries = tuple(self._entries(index, production, canary))
        if entries != catalog.entries:
            catalog.replace(entries)
        self._index = index
        if catalog.default.selector != before:
            metrics.model_switches().inc(tags={"task": self._task})
            _LOGGER.warning(
                "%s: %s answers from now on, not %s", self._task, catalog.default.selector, before
            )
        if canary is None or index.canary is None:
            self._traffic.trials.pop(self._task, None)
            return
        entry = next(one for one in catalog.entries if one.selector == canary.selector)
        self._traffic.trials[self._task] = Trial(
            entry=entry, share=index.canary.share, started_at=index.canary.changed_at.isoformat()
        )

    def _entries(
        self, index: Index, production: CatalogEntry | None, canary: CatalogEntry | None
    ) -> Iterable[CatalogEntry]:
        """Yield production, canary and the models of the settings, without retired versions."""
        seen: set[str] = set()
        for position, entry in enumerate([production or self._settings[0], canary, *self._settings]):
            if entry is None or entry.selector in seen:
                continue
            version = index.versions.get(entry.selector)
            if position > 1 and version is not None and version.stage == "retired":
                continue
            seen.add(entry.selector)
            stage = (
                None if version is None or version.stage not in ("production", "canary") else version.stage
            )
            yield replace(entry, stage=stage)

    def _fail(self, errors: list[str]) -> None:
        """Count failures; log the first one unless its subject was logged last time."""
        if errors:
            metrics.registry_failures().inc(tags={"task": self._task})
        subject = errors[0].partition(": ")[0] if errors else ""  # details such as ids of calls change
        if subject and subject != self._last_error:
            _LOGGER.warning("%s: %s; the running models go on", self._task, errors[0])
        self._last_error = subject


class RegistryMiddleware:
    """Follow the registry while the gateway runs."""

    def __init__(self, app: ASGIApp, follower: RegistryFollower) -> None:
        self._app = app
        self._follower = follower

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start at the start of the server, and close at its end."""
        if scope["type"] != "lifespan":
            return await self._app(scope, receive, send)
        await self._follower.start()
        try:
            await self._app(scope, receive, send)
        finally:
            await self._follower.close()
