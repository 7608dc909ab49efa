"""Gateways and their ledger in one process, on one clock that the tests move."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from serve.config import Limit
from serve.runtime.callers import Caller
from serve.runtime.leases import IDLE_S, PHOTO_DENIAL_S, Decision, LeaseClient
from serve.runtime.limit_ledger import Call, LimitLedger, Reply

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


def caller(name: str = "key:clinic", **limit: float | str) -> Caller:
    return Caller(name=name, roles=frozenset(), limit=Limit.model_validate(limit))


@dataclass
class Cluster:
    """One ledger and its gateways."""

    seconds: float = 1000.0
    failure: Exception | None = None
    hangs: bool = False
    gateways: list[LeaseClient] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = LimitLedger(clock=self.clock, now=self.now)
        self.gateways = [
            LeaseClient(self.call, slow_call_s=0.2 if self.hangs else 20, clock=self.clock, now=self.now)
            for _ in range(4)
        ]

    def clock(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.seconds - 1000)

    async def call(self, call: Call) -> Reply:
        await asyncio.sleep(0)
        if self.hangs:
            await asyncio.sleep(1)
        if self.failure is not None:
            raise self.failure
        return self.ledger.exchange(*call)

    def level(self, one: Caller) -> float:
        bucket = self.ledger._entries[one.name].bucket
        assert bucket is not None
        return bucket.level(self.seconds)

    def photos_used(self, one: Caller) -> int:
        quota = self.ledger._entries[one.name].quota
        assert quota is not None
        return quota.used

    async def tick(self) -> None:
        """Return idle leases of all gateways, as their timers do."""
        for gateway in self.gateways:
            gateway._return_unused()
            await gateway._wait_for_call()


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


async def accepted(cluster: Cluster, one: Caller, *, times: int, pause_s: float) -> int:
    """Send requests to the gateways in turn; return how many were accepted."""
    number = 0
    for index in range(times):
        decision = await cluster.gateways[index % 4].take_token(one)
        number += decision.accepted
        cluster.seconds += pause_s
    return number


@hypothesis_settings(max_examples=50)
@given(
    rate=st.floats(0.1, 200),
    burst=st.integers(1, 50),
    sends=st.lists(st.tuples(st.integers(0, 3), st.floats(0, 2), st.integers(1, 20)), max_size=60),
)
def test_all_gateways_together_never_accept_more_than_the_limit(
    rate: float, burst: int, sends: Sequence[tuple[int, float, int]]
):
    async def run() -> None:
        cluster = Cluster()
        one = caller(requests_per_second=rate, burst=burst)
        start, number = cluster.seconds, 0
        for gateway, pause_s, at_once in sends:
            cluster.seconds += pause_s
            if pause_s > IDLE_S:
                await cluster.tick()
            decisions = await asyncio.gather(
                *(cluster.gateways[gateway].take_token(one) for _ in range(at_once))
            )
            number += sum(decision.accepted for decision in decisions)
            assert number <= rate * (cluster.seconds - start) + burst + 1e-6

    asyncio.run(run())


@pytest.mark.parametrize(("rate", "burst"), [(1, 2), (1, 5), (10, 20), (50, 100), (50, 1), (200, 400)])
async def test_offered_twice_the_limit_is_accepted_at_the_limit(cluster: Cluster, rate: int, burst: int):
    number = await accepted(
        cluster, caller(requests_per_second=rate, burst=burst), times=40 * rate, pause_s=0.5 / rate
    )

    tolerance = 0.05 if burst > 1 else 0.35  # a full bucket of one token loses what arrives meanwhile
    assert number == pytest.approx(20 * rate + burst, rel=tolerance)


async def test_offered_less_than_the_limit_is_accepted(cluster: Cluster):
    assert await accepted(cluster, caller(requests_per_second=10), times=200, pause_s=0.11) == 200


async def test_a_rejection_and_a_lease_need_no_call(cluster: Cluster):
    one = caller(requests_per_second=100, burst=200)

    await accepted(cluster, one, times=4000, pause_s=0.005)

    assert sum(gateway.num_calls for gateway in cluster.gateways) < 4000 / 8


async def test_overload_needs_few_calls(cluster: Cluster):
    one = caller(requests_per_second=1)

    await accepted(cluster, one, times=10_000, pause_s=0.001)

    assert sum(gateway.num_calls for gateway in cluster.gateways) < 60


async def test_concurrent_requests_share_a_call(cluster: Cluster):
    gateway, one = cluster.gateways[0], caller(requests_per_second=1, burst=50)

    decisions = await asyncio.gather(*(gateway.take_token(one) for _ in range(80)))

    assert sum(decision.accepted for decision in decisions) == 50
    assert gateway.num_calls <= 3


async def test_the_decision_states_the_limit(cluster: Cluster):
    gateway, one = cluster.gateways[0], caller(requests_per_second=2, burst=4)

    first = await gateway.take_token(one)
    decisions = [await gateway.take_token(one) for _ in range(4)]

    assert first == Decision(True, 4, 3, 0.5, 0)
    assert [decision.accepted for decision in decisions] == [True, True, True, False]
    assert decisions[-1].remaining == 0 and decisions[-1].wait_s == pytest.approx(0.5)


async def test_unused_leases_return_after_a_second(cluster: Cluster):
    one = caller(requests_per_second=50, burst=50)
    for gateway in cluster.gateways:
        await gateway.take_token(one)
    leased = sum(gateway._leases[one.name].tokens for gateway in cluster.gateways)

    cluster.seconds += IDLE_S + 0.1
    await cluster.tick()

    assert leased == 36
    assert [gateway._leases[one.name].tokens for gateway in cluster.gateways] == [0] * 4


async def test_idle_callers_are_forgotten(cluster: Cluster):
    for index in range(100):
        await cluster.gateways[0].take_token(caller(f"address:192.0.2.{index}", requests_per_second=1))

    for _ in range(3):
        cluster.seconds += 20
        await cluster.tick()
    cluster.ledger.sweep()

    assert cluster.gateways[0]._leases == {} and cluster.ledger._entries == {}


async def test_a_changed_limit_applies_to_the_next_call(cluster: Cluster):
    gateway = cluster.gateways[0]
    while (await gateway.take_token(caller(requests_per_second=1, burst=2))).accepted:
        pass

    cluster.seconds += 1
    decisions = [
        (await gateway.take_token(caller(requests_per_second=100, burst=200))).accepted for _ in range(20)
    ]

    assert decisions[0]
    cluster.seconds += 1
    assert (await gateway.take_token(caller(requests_per_second=100, burst=200))).limit == 200


@pytest.mark.parametrize("failure", [ConnectionError("no actor"), TimeoutError()])
async def test_without_the_ledger_each_gateway_accepts_its_share(
    cluster: Cluster, failure: Exception, caplog: pytest.LogCaptureFixture
):
    one = caller(requests_per_second=10)
    await accepted(cluster, one, times=80, pause_s=0.05)
    cluster.failure = failure

    number = await accepted(cluster, one, times=400, pause_s=0.05)

    assert number == pytest.approx(200, rel=0.1)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 4
    assert "this gateway accepts 1/4 of each limit" in caplog.text


async def test_a_caller_is_accepted_although_the_ledger_never_answered(cluster: Cluster):
    cluster.failure = ConnectionError("no actor")

    decisions = [await gateway.take_token(caller(requests_per_second=1)) for gateway in cluster.gateways]

    assert all(decision.accepted for decision in decisions)


async def test_a_slow_ledger_delays_one_request_by_a_fifth_of_a_second():
    cluster = Cluster(hangs=True)
    gateway, loop = cluster.gateways[0], asyncio.get_running_loop()

    start = loop.time()
    decisions = [await gateway.take_token(caller(requests_per_second=100)) for _ in range(50)]

    assert all(decision.accepted for decision in decisions)
    assert loop.time() - start < 0.5


async def test_the_ledger_learns_what_was_accepted_without_it(cluster: Cluster):
    one = caller(requests_per_second=1, burst=20)
    await accepted(cluster, one, times=4, pause_s=0)
    cluster.failure = ConnectionError("no actor")
    number = await accepted(cluster, one, times=12, pause_s=0)

    cluster.failure = None
    await cluster.tick()
    await cluster.tick()

    assert number == 12
    assert cluster.level(one) == pytest.approx(4)


async def test_photos_are_counted_over_all_gateways(cluster: Cluster):
    one = caller(photos_per_day=100)

    accepted_photos = 0
    for index in range(60):
        decision = await cluster.gateways[index % 4].take_photos(one, 3)
        accepted_photos += 3 * decision.accepted
        cluster.seconds += 1.2
        await cluster.tick()

    assert accepted_photos == 99
    rejected = await cluster.gateways[0].take_photos(one, 3)
    assert not rejected.accepted and rejected.limit == 100 and rejected.remaining == 1
    assert (await cluster.gateways[0].take_photos(one, 1)).accepted


async def test_a_used_quota_resets_at_midnight_of_the_caller(cluster: Cluster):
    one, gateway = caller(photos_per_day=10, time_zone="Europe/Berlin"), cluster.gateways[0]
    assert (await gateway.take_photos(one, 10)).accepted

    rejected = await gateway.take_photos(one, 1)
    cluster.seconds += rejected.wait_s - 1
    still_rejected = await gateway.take_photos(one, 1)
    cluster.seconds += 2

    assert rejected.wait_s == 11 * 3600
    assert not still_rejected.accepted
    assert (await gateway.take_photos(one, 1)).accepted


async def test_leases_of_yesterday_are_not_used(cluster: Cluster):
    one, gateway = caller(photos_per_day=10_000), cluster.gateways[0]
    await gateway.take_photos(one, 1)

    cluster.seconds += 12 * 3600 + 1
    await gateway.take_photos(one, 1)

    assert cluster.photos_used(one) == 1 + gateway._leases[one.name].photos


async def test_a_used_quota_needs_one_call_per_second(cluster: Cluster):
    one, gateway = caller(photos_per_day=5), cluster.gateways[0]
    await gateway.take_photos(one, 5)

    for _ in range(1000):
        assert not (await gateway.take_photos(one, 0)).accepted
        cluster.seconds += 0.005

    assert gateway.num_calls <= 2 + 5 / PHOTO_DENIAL_S


async def test_without_the_ledger_each_gateway_accepts_its_share_of_the_photos(cluster: Cluster):
    one = caller(photos_per_day=100)
    for gateway in cluster.gateways:
        await gateway.take_photos(one, 5)
    cluster.seconds += 1.2
    await cluster.tick()
    cluster.failure = ConnectionError("no actor")

    number = 0
    for index in range(200):
        number += (await cluster.gateways[index % 4].take_photos(one, 1)).accepted

    assert 80 <= number <= 86
    cluster.failure = None
    await cluster.tick()
    await cluster.tick()
    assert cluster.photos_used(one) == 20 + number


async def test_photos_of_a_failed_request_are_given_back(cluster: Cluster):
    one, gateway = caller(photos_per_day=5), cluster.gateways[0]
    await gateway.take_photos(one, 5)

    gateway.give_back_photos(one, 5)

    assert (await gateway.take_photos(one, 5)).accepted


async def test_a_restarted_ledger_grants_no_second_burst(cluster: Cluster):
    one = caller(requests_per_second=1, burst=100)
    restarted = LimitLedger(clock=cluster.clock, now=cluster.now, starts_empty=True)
    cluster.ledger = restarted

    cluster.seconds += 10

    assert await accepted(cluster, one, times=100, pause_s=0) == 10


async def test_a_problem_of_the_ledger_is_logged_once(cluster: Cluster, caplog: pytest.LogCaptureFixture):
    async def call(call: Call) -> Reply:
        return cluster.ledger.exchange(*call)._replace(problem="the disk is full")

    gateway = LeaseClient(call, clock=cluster.clock, now=cluster.now)
    for _ in range(5):
        await gateway.take_token(caller(requests_per_second=1, burst=100))

    assert caplog.text.count("the disk is full") == 1


async def test_the_timer_reports_the_gateway_and_close_returns_its_leases(cluster: Cluster):
    gateway, one = cluster.gateways[0], caller(requests_per_second=50)
    gateway.start()
    await asyncio.sleep(0.05)
    assert cluster.ledger.num_gateways() == 1

    await gateway.take_token(one)
    await gateway.close()

    assert cluster.level(one) == pytest.approx(99)
