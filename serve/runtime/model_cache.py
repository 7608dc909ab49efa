"""Cache the loaded models of one replica; all but the default one may be evicted.

``ray.serve.multiplexed`` holds the others and evicts the least recently used one. Handled here (Ray 2.60):

- A load that is cancelled goes on in its thread, its model is lost and its id stays announced. Hence a load
  is never cancelled.
- Ray loads again at every request for a model that cannot be loaded. Hence a failure is remembered.
- Ray drops an evicted model at once. Calls that use it hold a reference; its memory is freed when the last
  one ends. Hence a model must not be part of a reference cycle.
- glibc keeps the memory of evicted models in the heap of each loading thread. Hence it is returned.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

import ray.serve

from models.checkpoint import CheckpointMeta
from serve.runtime.batching import DynamicBatcher
from serve.runtime.freed_memory import return_freed_memory

RETRY_LOAD_AFTER_S = 10.0
"""Time for which calls for a model that could not be loaded are rejected without another attempt."""

_I = TypeVar("_I")
_R = TypeVar("_R")


@dataclass(frozen=True, kw_only=True)
class ModelRuntime:
    """Device and engine of a loaded model."""

    device: str
    engine: str
    cuda_graphs: bool | None = None


@dataclass(frozen=True, kw_only=True)
class CachedModel(Generic[_I, _R]):
    """One loaded model."""

    meta: CheckpointMeta
    runtime: ModelRuntime
    batcher: DynamicBatcher[_I, _R]


@dataclass(frozen=True, kw_only=True)
class LoadFailed:
    """Result of a call for a model that cannot be loaded.

    It is no exception, because Serve logs a traceback of each exception.
    """

    reason: str


class ModelCache(Generic[_I, _R]):
    """Load the models of one replica by address and keep the most recently used ones.

    Args:
        load: returns the model of an address; runs in a thread, for the default model in that of the caller.
        default: address of the model that is loaded in the constructor and never evicted.
        max_models: most loaded models, the default one included.
    """

    def __init__(self, load: Callable[[str], CachedModel[_I, _R]], *, default: str, max_models: int) -> None:
        self.default = load(default)
        return_freed_memory()
        self._default_address = default
        self._load = load
        self._loaded = WeakValueDictionary[str, CachedModel[_I, _R]]({default: self.default})
        self._failures: dict[str, tuple[float, LoadFailed]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

        async def load_in_thread(address: str) -> CachedModel[_I, _R]:
            model = await asyncio.to_thread(load, address)
            await asyncio.to_thread(return_freed_memory)
            self._loaded[address] = model
            return model

        limit = max(1, max_models - 1)
        decorate: Any = ray.serve.multiplexed(max_num_models_per_replica=limit)
        self._multiplexed: Callable[[str], Awaitable[CachedModel[_I, _R]]] = decorate(load_in_thread)

    async def get(self, address: str = "") -> CachedModel[_I, _R] | LoadFailed:
        """Return the model of an address, loaded if necessary; without an address the default model."""
        if address in ("", self._default_address):
            return self.default
        failed_at, failure = self._failures.get(address, (0.0, None))
        if failure and time.monotonic() - failed_at < RETRY_LOAD_AFTER_S:
            return failure
        task = asyncio.create_task(self._get_or_load(address))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def check_health(self) -> None:
        """Raise if the engine of a loaded model has failed; Serve then replaces the replica."""
        await asyncio.gather(*(model.batcher.check_alive() for model in list(self._loaded.values())))

    def runtimes(self) -> dict[str, ModelRuntime]:
        """Return device and engine of each loaded model by its address."""
        return {address: model.runtime for address, model in list(self._loaded.items())}

    async def _get_or_load(self, address: str) -> CachedModel[_I, _R] | LoadFailed:
        try:
            model = await self._multiplexed(address)
        except Exception as error:  # of any kind: the other models go on
            failure = LoadFailed(reason=f"{type(error).__name__}: {error}")
            self._failures[address] = time.monotonic(), failure
            return failure
        self._failures.pop(address, None)
        return model
