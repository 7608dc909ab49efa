import asyncio
import time

import pytest

from serve.runtime.readiness import Readiness
from tests.serve.fakes import FakeStages


async def test_every_model_must_have_answered():
    stages = FakeStages(dead={"lesion", "progress"})
    readiness = Readiness(stages, ready_after_s=60)

    assert (await readiness.check()).waiting_for == ["lesion", "progress"]
    stages.dead = set()
    assert (await readiness.check()).status == "ok"


async def test_a_probe_does_not_wait_longer_than_its_patience_and_the_question_goes_on(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("serve.runtime.readiness.PROBE_TIMEOUT_S", 0.05)
    stages = FakeStages(delay_s=1)
    readiness = Readiness(stages, ready_after_s=60)

    began = time.monotonic()
    first = await readiness.check()
    again = await readiness.check()
    took = time.monotonic() - began
    await asyncio.sleep(1.3)

    assert first.waiting_for == again.waiting_for == ["lesion", "face", "progress"]
    assert took < 0.9
    assert stages.num_calls == 3, "the second probe waits for the questions of the first"
    assert (await readiness.check()).status == "ok"


async def test_a_question_without_an_answer_is_called_off_after_a_while(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("serve.runtime.readiness.WARM_UP_TIMEOUT_S", 0.05)
    stages = FakeStages(delay_s=60)
    readiness = Readiness(stages, ready_after_s=60)

    first = await readiness.check()
    called_off = stages.num_cancelled
    stages.delay_s = 0

    assert (first.status, called_off) == ("starting", 3)
    assert (await readiness.check()).status == "ok"


async def test_a_model_that_died_is_missed_after_a_while(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("serve.runtime.readiness.FRESH_S", 0.0)
    stages = FakeStages()
    readiness = Readiness(stages, ready_after_s=1)

    await readiness.check()
    stages.dead = {"face"}
    soon = await readiness.check()
    await asyncio.sleep(1.1)

    assert soon.status == "ok"
    assert (await readiness.check()).waiting_for == ["face"]
