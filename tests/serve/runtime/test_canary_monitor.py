import asyncio
import shutil
from pathlib import Path

import pytest

from models.checkpoint import save_checkpoint
from models.lesion.small_network import SmallLesionNet
from models.registry import Registry
from models.registry_index import VersionName
from serve.config import CanaryLimits
from serve.runtime.canary_monitor import CanaryMonitor, TrialKey, TrialReport, TrialWindow
from serve.runtime.canary_rules import AnswerCounts
from tests.random_checkpoints import SMALL_ARCHITECTURE, random_meta

ONE, TWO = VersionName("net", "1"), VersionName("net", "2")
LIMITS = CanaryLimits(window_s=60)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A registry with a production and a canary."""
    registry = Registry(str(tmp_path / "registry"))
    net = SmallLesionNet(num_diagnoses=2, input_px=64)
    for model in (ONE, TWO):
        meta = random_meta("lesion", name=model.name, version=model.version, architecture=SMALL_ARCHITECTURE)
        save_checkpoint(tmp_path / model.version, net, meta, "# Card\n")
        registry.push(str(tmp_path / model.version))
    registry.change("lesion", lambda index: index.with_production(ONE).with_canary(TWO, share=0.1))
    return registry


def key_of(registry: Registry) -> TrialKey:
    canary = registry.read("lesion").canary
    assert canary is not None
    return TrialKey("lesion", str(ONE), str(TWO), canary.changed_at.isoformat())


def answers(n: int, *, errors: int = 0) -> AnswerCounts:
    counts = AnswerCounts()
    for _ in range(n - errors):
        counts.add_answer("benign", [], 0.1)
    for _ in range(errors):
        counts.add_error()
    return counts


def report(key: TrialKey, *, production: int = 0, canary: int = 0, errors: int = 0) -> TrialReport:
    return TrialReport(key=key, production=answers(production), canary=answers(canary, errors=errors))


def test_the_counts_of_all_gateways_decide_together(registry: Registry):
    key, monitor = key_of(registry), CanaryMonitor(registry.address, LIMITS)

    rollbacks = [
        asyncio.run(monitor.exchange([report(key, production=100, canary=20, errors=20)])) for _ in range(3)
    ]

    assert rollbacks[:2] == [[], []]
    (rollback,) = rollbacks[2]
    assert (rollback.key, rollback.is_new, rollback.problem, rollback.violation.cause) == (
        key,
        True,
        "",
        "errors",
    )


def test_a_rollback_is_recorded_in_the_index_with_its_reason(registry: Registry):
    monitor = CanaryMonitor(registry.address, LIMITS)

    asyncio.run(monitor.exchange([report(key_of(registry), production=300, canary=60, errors=60)]))

    index = registry.read("lesion")
    assert index.canary is None and index.production is not None and index.production.id == ONE
    assert index.get(TWO).reason == (
        "rolled back automatically; errors: 1.000 of 60, production 0.000 of 300, bound 0.050"
    )


def test_the_second_gateway_gets_the_same_rollback_once_old(registry: Registry):
    key, monitor = key_of(registry), CanaryMonitor(registry.address, LIMITS)
    asyncio.run(monitor.exchange([report(key, canary=60, errors=60)]))

    (again,) = asyncio.run(monitor.exchange([report(key)]))

    assert again.key == key and not again.is_new


def test_a_registry_that_cannot_be_written_leaves_the_rollback_in_memory_and_is_tried_again(
    registry: Registry, tmp_path: Path
):
    clock = Clock()
    key, monitor = key_of(registry), CanaryMonitor(registry.address, LIMITS, clock)
    index = tmp_path / "registry/lesion/index.json"
    content = index.read_bytes()
    index.write_bytes(b"damaged")

    (rollback,) = asyncio.run(monitor.exchange([report(key, canary=60, errors=60)]))
    assert "is damaged" in rollback.problem
    index.write_bytes(content)
    clock.now += 1
    (early,) = asyncio.run(monitor.exchange([report(key)]))
    assert "is damaged" in early.problem and registry.read("lesion").canary is not None
    clock.now += 10
    (late,) = asyncio.run(monitor.exchange([report(key)]))

    assert late.problem == "" and registry.read("lesion").canary is None


def test_a_canary_that_was_promoted_again_has_another_trial(registry: Registry):
    key, monitor = key_of(registry), CanaryMonitor(registry.address, LIMITS)
    registry.change("lesion", lambda index: index.with_candidate(TWO).with_canary(TWO, share=0.2))

    asyncio.run(monitor.exchange([report(key, canary=60, errors=60)]))

    assert registry.read("lesion").canary is not None
    assert asyncio.run(monitor.exchange([report(key_of(registry), canary=10)])) == []


def test_old_answers_leave_the_window(registry: Registry):
    window, key = TrialWindow(60), key_of(registry)
    for second in range(0, 120, 2):
        window.add(report(key, production=10, canary=1), float(second))

    production, canary = window.totals()

    assert 290 <= production.num_answers <= 310
    assert canary.num_answers == production.num_answers / 10


def test_forgotten_trials_take_no_memory(registry: Registry):
    clock = Clock()
    key, monitor = key_of(registry), CanaryMonitor(registry.address, LIMITS, clock)
    for number in range(50):
        asyncio.run(monitor.exchange([report(key._replace(started_at=str(number)), canary=1)]))
        clock.now += 30

    assert len(monitor._windows) <= 3


def test_a_lost_registry_does_not_stop_the_monitor(registry: Registry):
    key, monitor = key_of(registry), CanaryMonitor(registry.address, LIMITS)
    shutil.rmtree(registry.address)

    (rollback,) = asyncio.run(monitor.exchange([report(key, canary=60, errors=60)]))

    assert rollback.is_new and "there is no registry" in rollback.problem
    assert not Path(registry.address).exists()
