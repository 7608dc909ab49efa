import asyncio
from collections import Counter
from collections.abc import Mapping

import pytest

from models.images import PhotoError
from serve.config import GatewayConfig
from serve.lesion.schemas import LesionAnswer
from serve.runtime import metrics
from serve.runtime.callers import ANONYMOUS, CALLER, Caller
from serve.runtime.errors import ApiError
from serve.runtime.model_catalog import CatalogEntry
from serve.runtime.model_traffic import ModelTraffic, Trial, is_in_share
from serve.schemas import ModelName, Reason
from tests.random_checkpoints import random_meta

PRODUCTION, CANARY = (
    CatalogEntry(address=version, meta=random_meta("lesion", name="net", version=version), model_card="")
    for version in "12"
)


class FakeCounter:
    """A metric that counts by the tag ``result``."""

    def __init__(self) -> None:
        self.results = Counter[str]()

    def inc(self, tags: Mapping[str, str]) -> None:
        self.results[tags["result"]] += 1


def answer(verdict: str) -> LesionAnswer:
    return LesionAnswer.model_construct(
        model=ModelName(name="net", version="2"),
        verdict=verdict,
        reasons=[Reason(code="blurred", message="")],
    )


@pytest.fixture
def traffic() -> ModelTraffic:
    return ModelTraffic(GatewayConfig(registry="registry", default_deadline_s=0.2))


def trial(share: float | None) -> Trial:
    return Trial(entry=CANARY, share=share, started_at="now")


def scope_of(name: str) -> dict[str, object]:
    return {CALLER: Caller(name=name, roles=ANONYMOUS.roles, limit=None)}


def chosen(traffic: ModelTraffic, scope: dict[str, object], request_id: str) -> str:
    return traffic.choose("lesion", PRODUCTION, scope, request_id).entry.version


def test_without_a_canary_production_answers(traffic: ModelTraffic):
    assert chosen(traffic, {}, "id") == "1"


def test_a_canary_answers_its_share_of_the_requests(traffic: ModelTraffic):
    traffic.trials["lesion"] = trial(0.1)

    answered = [chosen(traffic, {}, f"request-{number}") for number in range(5000)]

    assert 400 < answered.count("2") < 600


@pytest.mark.parametrize("name", ["key:clinic-%d", "jwt:person-%d", "address:192.0.2.%d"])
def test_all_requests_of_a_caller_go_to_one_model(traffic: ModelTraffic, name: str):
    traffic.trials["lesion"] = trial(0.5)

    answered = [{chosen(traffic, scope_of(name % one), str(id)) for id in range(9)} for one in range(60)]

    assert all(len(versions) == 1 for versions in answered)
    assert 15 < answered.count({"2"}) < 45


def test_the_visitors_of_the_page_are_split(traffic: ModelTraffic):
    traffic.trials["lesion"] = trial(0.5)

    assert {chosen(traffic, scope_of("page"), str(number)) for number in range(40)} == {"1", "2"}


def test_a_larger_share_keeps_the_callers_of_a_smaller_one():
    names = [f"key:{number}" for number in range(500)]

    small = {name for name in names if is_in_share(trial(0.1), name)}
    large = {name for name in names if is_in_share(trial(0.3), name)}

    assert small and small < large
    assert all(is_in_share(trial(1.0), name) for name in names)


def test_a_shadow_does_not_answer(traffic: ModelTraffic):
    traffic.trials["lesion"] = trial(None)

    choice = traffic.choose("lesion", PRODUCTION, {}, "id")

    assert (choice.entry, choice.shadow) == (PRODUCTION, CANARY)


def test_answers_are_counted_by_model_until_they_are_taken(traffic: ModelTraffic):
    for entry in (PRODUCTION, CANARY, CANARY):
        with traffic.measure("lesion", entry) as count:
            count("benign", [Reason(code="blurred", message="")])

    counts = traffic.take_counts()

    assert counts["lesion", "net@1"].verdicts == {"benign": 1}
    assert counts["lesion", "net@2"].reasons == {"blurred": 2}
    assert traffic.take_counts() == {}


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (RuntimeError("broken"), True),
        (ApiError("model_unavailable", ""), True),
        (ApiError("overloaded", ""), True),
        (ApiError("no_face", ""), False),
        (PhotoError("no photo"), False),
        (asyncio.CancelledError(), False),
    ],
)
def test_errors_of_the_server_are_counted(traffic: ModelTraffic, error: BaseException, counts: bool):
    with pytest.raises(type(error)), traffic.measure("lesion", CANARY):
        raise error

    assert [one.num_errors for one in traffic.take_counts().values()] == [1] * counts


async def test_a_request_cancelled_at_its_deadline_is_an_error(traffic: ModelTraffic):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.25):
            with traffic.measure("lesion", CANARY):
                await asyncio.sleep(1)

    assert traffic.take_counts()["lesion", "net@2"].num_errors == 1


def test_without_a_registry_nothing_is_counted():
    traffic = ModelTraffic(GatewayConfig())
    with traffic.measure("lesion", PRODUCTION) as count:
        count("benign", [])

    assert traffic.take_counts() == {}


async def test_a_shadow_is_counted_and_compared_in_the_background(
    traffic: ModelTraffic, monkeypatch: pytest.MonkeyPatch
):
    counter = FakeCounter()
    monkeypatch.setattr(metrics, "shadow_answers", lambda: counter)

    async def malignant() -> LesionAnswer:
        return answer("malignant")

    async def broken() -> LesionAnswer:
        raise RuntimeError("broken")

    traffic.run_shadow("lesion", CANARY, malignant, "benign")
    traffic.run_shadow("lesion", CANARY, broken, "benign")
    traffic.run_shadow("lesion", CANARY, malignant, "benign")  # the third at once
    await asyncio.sleep(0.05)
    traffic.run_shadow("lesion", CANARY, malignant, "malignant")
    await asyncio.sleep(0.05)

    counted = traffic.take_counts()["lesion", "net@2"]
    assert (counted.num_answers, counted.num_errors, counted.verdicts) == (3, 1, {"malignant": 2})
    assert counter.results == {"different": 1, "error": 1, "dropped": 1, "same": 1}


async def test_a_shadow_ends_at_the_deadline(traffic: ModelTraffic):
    traffic.run_shadow("lesion", CANARY, lambda: asyncio.sleep(9, answer("benign")), "benign")
    await asyncio.sleep(0.3)

    assert traffic.take_counts()["lesion", "net@2"].num_errors == 1
