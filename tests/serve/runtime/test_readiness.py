import asyncio
import time

import pytest

from serve.runtime.readiness import Readiness
from tests.serve.fakes import FakeModels


async def test_every_model_must_have_answered():
    models = FakeModels(dead={"lesion", "progress"})
    readiness = Readiness(models.replicas, ready_after_s=60)

    assert (await readiness.check()).waiting_for == ["lesion", "progress"]
    models.dead = set()
    assert (await readiness.check()).status == "ok"


async def test_a_readiness_request_waits_at_most_its_timeout_and_warm_up_batches_continue(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("serve.runtime.readiness.PROBE_TIMEOUT_S", 0.05)
    models = FakeModels(delay_s=1)
    readiness = Readiness(models.replicas, ready_after_s=60)

    began = time.monotonic()
    first = await readiness.check()
    again = await readiness.check()
    took = time.monotonic() - began
    await asyncio.sleep(1.3)

    assert first.waiting_for == again.waiting_for == ["lesion", "face", "progress"]
    assert took < 0.9
    assert models.num_calls == 3, "the second request waits for the warm-up batches of the first"
    assert (await readiness.check()).status == "ok"


async def test_a_warm_up_batch_is_cancelled_at_its_timeout(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("serve.runtime.readiness.WARM_UP_TIMEOUT_S", 0.05)
    models = FakeModels(delay_s=60)
    readiness = Readiness(models.replicas, ready_after_s=60)

    first = await readiness.check()
    num_cancelled = models.num_cancelled
    models.delay_s = 0

    assert (first.status, num_cancelled) == ("starting", 3)
    assert (await readiness.check()).status == "ok"


async def test_a_dead_model_is_reported_after_its_last_answer_expires(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("serve.runtime.readiness.FRESH_S", 0.0)
    models = FakeModels()
    readiness = Readiness(models.replicas, ready_after_s=1)

    await readiness.check()
    models.dead = {"face"}
    soon = await readiness.check()
    await asyncio.sleep(1.1)

    assert soon.status == "ok"
    assert (await readiness.check()).waiting_for == ["face"]
