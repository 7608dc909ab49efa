"""The LRU is Ray's own; only its connection to a running Serve is replaced.

Nothing documented replaces it. The two private names are those of Ray 2.60; monkeypatch fails if they change.
"""

import asyncio
import gc
import threading
from types import SimpleNamespace
from typing import Any
from weakref import ref

import pytest

from serve.runtime.batching import BatchThreads, DynamicBatcher
from serve.runtime.model_cache import CachedModel, LoadFailed, ModelCache, ModelRuntime
from tests.random_checkpoints import random_meta


@pytest.fixture(autouse=True)
def replica(monkeypatch: pytest.MonkeyPatch) -> None:
    context = SimpleNamespace(app_name="api", deployment="Lesion", replica_id="1")
    client = SimpleNamespace(record_request_routing_info=lambda _: None)
    monkeypatch.setattr("ray.serve.multiplex._get_internal_replica_context", lambda: context)
    monkeypatch.setattr("ray.serve.multiplex._get_global_client", lambda: client)


class Engine:
    """Answers with its address."""

    def __init__(self, address: str) -> None:
        self.address = address

    def compute(self, items: list[int]) -> list[str]:
        return [self.address] * len(items)

    def ping(self) -> None: ...


class Loader:
    """Loads engines; records addresses, threads, and the engines weakly."""

    def __init__(self) -> None:
        self.threads = BatchThreads()
        self.loads: list[str] = []
        self.loaded_in: list[str] = []
        self.engines: list[ref[Engine]] = []
        self.bad: set[str] = set()
        self.go = threading.Event()
        self.go.set()

    def __call__(self, address: str) -> CachedModel[int, str]:
        self.loads.append(address)
        self.loaded_in.append(threading.current_thread().name)
        self.go.wait(20)
        if address in self.bad:
            raise ValueError(f"{address} is damaged")
        engine = Engine(address)
        self.engines.append(ref(engine))
        return CachedModel(
            meta=random_meta("lesion"),
            runtime=ModelRuntime(device="cpu", engine="fake"),
            batcher=DynamicBatcher(engine.compute, engine.ping, max_size=4, threads=self.threads),
        )


def cache_of(loader: Loader, max_models: int = 3) -> ModelCache[int, str]:
    return ModelCache(loader, default="a", max_models=max_models)


async def answer(cache: ModelCache[int, str], address: str) -> Any:
    model = await cache.get(address)
    return model if isinstance(model, LoadFailed) else await model.batcher.submit(1)


async def test_the_default_model_is_loaded_at_once_and_others_on_request_in_a_thread():
    loader = Loader()
    cache = cache_of(loader)
    assert loader.loads == ["a"]

    answers = [await answer(cache, address) for address in ("", "a", "b", "b")]

    assert answers == ["a", "a", "b", "b"]
    assert loader.loads == ["a", "b"]
    assert loader.loaded_in[1] != threading.current_thread().name
    assert set(cache.runtimes()) == {"a", "b"}


async def test_the_least_recently_used_model_is_evicted_and_freed_and_the_default_one_never():
    loader = Loader()
    cache = cache_of(loader, max_models=3)

    gc.disable()  # freed by reference counts alone, not by a later garbage collection
    try:
        for address in ("b", "c", "b", "d"):
            assert await answer(cache, address) == address
        alive = {engine().address for engine in loader.engines if engine()}  # pyright: ignore[reportOptionalMemberAccess]
    finally:
        gc.enable()

    assert alive == set(cache.runtimes()) == {"a", "b", "d"}


async def test_a_call_that_uses_an_evicted_model_is_answered():
    loader = Loader()
    cache = cache_of(loader, max_models=2)

    model = await cache.get("b")
    assert isinstance(model, CachedModel)
    assert await answer(cache, "c") == "c"

    assert "b" in cache.runtimes()
    assert await model.batcher.submit(1) == "b"


async def test_a_model_is_loaded_once_for_concurrent_calls_also_if_the_first_caller_leaves():
    loader = Loader()
    cache = cache_of(loader)
    loader.go.clear()

    first, second = (asyncio.create_task(answer(cache, "b")) for _ in range(2))
    await asyncio.sleep(0.05)
    first.cancel()
    default = await asyncio.wait_for(answer(cache, ""), 5)
    loader.go.set()

    assert (default, await second) == ("a", "b")
    assert loader.loads == ["a", "b"]


async def test_a_model_that_cannot_be_loaded_is_tried_again_after_a_pause(monkeypatch: pytest.MonkeyPatch):
    loader = Loader()
    loader.bad = {"b"}
    cache = cache_of(loader)

    failures = [await answer(cache, "b") for _ in range(3)]
    await cache.check_health()
    loader.bad = set()
    monkeypatch.setattr("serve.runtime.model_cache.RETRY_LOAD_AFTER_S", 0)

    assert failures == [LoadFailed(reason="ValueError: b is damaged")] * 3
    assert loader.loads == ["a", "b"]
    assert await answer(cache, "b") == "b"


def test_a_default_model_that_cannot_be_loaded_fails_the_start():
    loader = Loader()
    loader.bad = {"a"}

    with pytest.raises(ValueError, match="a is damaged"):
        cache_of(loader)
