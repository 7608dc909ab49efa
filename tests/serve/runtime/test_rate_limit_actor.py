"""The limiter as a Ray actor, called by four gateways of one process."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.util import list_named_actors

from serve.config import Limit
from serve.runtime.callers import Caller
from serve.runtime.detached_actor import NAMESPACE
from serve.runtime.leases import SLOW_CALL_S, LeaseClient
from serve.runtime.quota_file import FILE_NAME
from serve.runtime.rate_limit_actor import LimiterClient, actor_name

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

NUM_CALLERS = 20
RATE = 25
BURST = 50
OFFERED_PER_S = 1000
"""By all callers together: twice their limits."""


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def caller(name: str, **limit: float) -> Caller:
    return Caller(name=name, roles=frozenset(), limit=Limit.model_validate(limit))


async def connect(
    application: str, folder: Path | None = None, *, number: int = 4, slow_call_s: float = SLOW_CALL_S
) -> list[LeaseClient]:
    """Return gateways whose limiter runs."""
    clients = [LimiterClient(application, str(folder) if folder else None) for _ in range(number)]
    gateways = [LeaseClient(client, slow_call_s=slow_call_s) for client in clients]
    for client, gateway in zip(clients, gateways, strict=True):
        client.connect()
        gateway.start()
    until = time.monotonic() + 60
    while not all(gateway._attached and gateway._num_gateways >= number for gateway in gateways) or (
        not gateways[0].num_calls
    ):
        assert time.monotonic() < until
        await asyncio.sleep(0.1)
        for gateway in gateways:
            await gateway._wait_for_call()
    return gateways


async def offer(
    gateways: list[LeaseClient], callers: list[Caller], seconds: float
) -> tuple[list[int], float]:
    """Offer requests at ``OFFERED_PER_S``; return how many of each caller were accepted, and the time."""
    accepted = [0] * len(callers)
    running: set[asyncio.Task[None]] = set()

    async def take(index: int) -> None:
        gateway = gateways[index // len(callers) % len(gateways)]
        decision = await gateway.take_token(callers[index % len(callers)])
        accepted[index % len(callers)] += decision.accepted

    start, sent = time.monotonic(), 0
    while (elapsed_s := time.monotonic() - start) < seconds:
        while sent < elapsed_s * OFFERED_PER_S:
            task = asyncio.create_task(take(sent))
            running.add(task)
            task.add_done_callback(running.discard)
            sent += 1
        await asyncio.sleep(0.002)
    await asyncio.gather(*running)
    return accepted, time.monotonic() - start


async def test_four_gateways_accept_each_limit_at_1000_requests_per_second():
    gateways = await connect("accuracy")
    callers = [caller(f"key:{index}", requests_per_second=RATE, burst=BURST) for index in range(NUM_CALLERS)]

    accepted, elapsed_s = await offer(gateways, callers, 10)

    expected = RATE * elapsed_s + BURST
    num_calls = sum(gateway.num_calls for gateway in gateways)
    print(f"{elapsed_s:.1f} s, expected {expected:.0f}, accepted {sorted(accepted)}, {num_calls} calls")
    for number in accepted:
        assert number == pytest.approx(expected, abs=0.05 * RATE * elapsed_s)
    assert num_calls < OFFERED_PER_S * elapsed_s / 3


@pytest.mark.parametrize("no_restart", [False, True], ids=["restarted by Ray", "created again"])
async def test_without_the_actor_requests_go_on_within_twice_their_limit(no_restart: bool):
    application = f"killed-{no_restart}"
    gateways = await connect(application)
    callers = [caller(f"key:{index}", requests_per_second=RATE, burst=BURST) for index in range(NUM_CALLERS)]
    await offer(gateways, callers, 3)

    ray.kill(ray.get_actor(actor_name(application, None), namespace=NAMESPACE), no_restart=no_restart)
    accepted, elapsed_s = await offer(gateways, callers, 8)

    print(
        f"{elapsed_s:.1f} s, accepted of the limit {[round(one / (RATE * elapsed_s), 2) for one in accepted]}"
    )
    for number in accepted:
        assert 0.5 * RATE * elapsed_s <= number <= 2 * RATE * elapsed_s
    until = time.monotonic() + 30
    while not all(gateway._attached for gateway in gateways):
        assert time.monotonic() < until
        await asyncio.sleep(0.1)


async def test_photo_counts_survive_the_actor(tmp_path: Path):
    [gateway] = await connect("photos", tmp_path, number=1, slow_call_s=60)
    one = caller("key:a", photos_per_day=100)
    assert (await gateway.take_photos(one, 60)).accepted
    until = time.monotonic() + 20
    while not (tmp_path / FILE_NAME).exists():
        assert time.monotonic() < until
        await asyncio.sleep(0.1)

    ray.kill(ray.get_actor(actor_name("photos", str(tmp_path)), namespace=NAMESPACE), no_restart=False)
    [other] = await connect("photos", tmp_path, number=1, slow_call_s=60)

    assert json.loads((tmp_path / FILE_NAME).read_text())["quotas"]["key:a"]["used"] == 60
    assert not (await other.take_photos(one, 41)).accepted
    assert (await other.take_photos(one, 40)).accepted


async def test_an_unused_actor_ends():
    client = LimiterClient("unused", None, end_after_s=0.1)
    client.connect()
    gateway = LeaseClient(client, slow_call_s=60)
    assert (await gateway.take_token(caller("key:a", requests_per_second=1))).accepted
    until = time.monotonic() + 60

    name = actor_name("unused", None)
    while {"name": name, "namespace": NAMESPACE} in list(list_named_actors(all_namespaces=True)):
        assert time.monotonic() < until
        await asyncio.sleep(0.5)
