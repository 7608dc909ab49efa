import asyncio
from contextvars import ContextVar

import pytest

from serve.runtime.replica_client import MAX_COALESCED_REQUESTS, RequestCoalescer

THRESHOLD = 5
REQUEST_NAME: ContextVar[str] = ContextVar("request_name", default="none")


class Replica:
    """Double numbers once ``go`` is set; record calls, their contexts and cancellations."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.calls: list[list[int]] = []
        self.cancelled: list[list[int]] = []
        self.contexts: list[str] = []

    async def double(self, numbers: list[int]) -> list[int]:
        self.calls.append(numbers)
        self.contexts.append(REQUEST_NAME.get())
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.append(numbers)
            raise
        if 13 in numbers:
            raise ValueError("13 is no number")
        return [2 * number for number in numbers if number != 12]


def submit_all(coalescer: RequestCoalescer[int, int], *numbers: int) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(coalescer.submit(number)) for number in numbers]


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def above_threshold(replica: Replica) -> tuple[RequestCoalescer[int, int], list[asyncio.Task[int]]]:
    """Return a coalescer whose next requests wait for each other, and its requests in flight."""
    coalescer = RequestCoalescer(replica.double, threshold=THRESHOLD)
    few = submit_all(coalescer, *range(THRESHOLD))
    await until(lambda: len(replica.calls) == THRESHOLD)
    return coalescer, few


async def test_few_requests_are_sent_at_once_and_one_per_call():
    replica = Replica()
    replica.go.set()
    coalescer = RequestCoalescer(replica.double, threshold=THRESHOLD)

    assert [await coalescer.submit(number) for number in range(3)] == [0, 2, 4]
    assert await asyncio.gather(*submit_all(coalescer, *range(THRESHOLD))) == [
        2 * number for number in range(THRESHOLD)
    ]
    assert replica.calls == [[number] for number in (0, 1, 2, *range(THRESHOLD))]


async def test_many_requests_within_the_wait_share_calls():
    replica = Replica()
    coalescer, few = await above_threshold(replica)

    many = submit_all(coalescer, *range(100, 103 + MAX_COALESCED_REQUESTS))
    await until(lambda: len(replica.calls) == THRESHOLD + 2)
    replica.go.set()

    answers = await asyncio.gather(*few, *many)
    assert replica.calls[THRESHOLD:] == [
        list(range(100, 100 + MAX_COALESCED_REQUESTS)),
        list(range(100 + MAX_COALESCED_REQUESTS, 103 + MAX_COALESCED_REQUESTS)),
    ]
    assert answers == [
        2 * number for number in (*range(THRESHOLD), *range(100, 103 + MAX_COALESCED_REQUESTS))
    ]
    assert await coalescer.submit(7) == 14 and replica.calls[-1] == [7], "below the threshold again"


async def test_a_request_cancelled_while_it_waits_is_not_sent():
    replica = Replica()
    coalescer, few = await above_threshold(replica)
    first, second = submit_all(coalescer, 100, 101)
    await asyncio.sleep(0)
    first.cancel()
    await until(lambda: len(replica.calls) == THRESHOLD + 1)
    replica.go.set()

    assert await second == 202
    assert replica.calls[-1] == [101]
    await asyncio.gather(*few)


async def test_a_call_is_cancelled_when_all_its_requests_are():
    replica = Replica()
    coalescer, few = await above_threshold(replica)
    first, second, third = submit_all(coalescer, 100, 101, 102)
    await until(lambda: len(replica.calls) == THRESHOLD + 1)

    first.cancel()
    second.cancel()
    await asyncio.sleep(0.02)
    assert not replica.cancelled, "the third still waits"
    third.cancel()
    await until(lambda: replica.cancelled)
    assert replica.cancelled == [[100, 101, 102]]

    replica.go.set()
    assert await asyncio.gather(*few) == [2 * number for number in range(THRESHOLD)]
    assert await coalescer.submit(1) == 2 and replica.calls[-1] == [1], "a cancelled call is not in flight"


async def test_a_group_of_cancelled_requests_is_not_sent():
    replica = Replica()
    coalescer, few = await above_threshold(replica)
    (gone,) = submit_all(coalescer, 100)
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0.05)
    replica.go.set()

    await asyncio.gather(*few)
    assert len(replica.calls) == THRESHOLD


@pytest.mark.parametrize(
    ("bad", "reason"), [(13, "13 is no number"), (12, "returned 1 results for 2 requests")]
)
async def test_an_error_is_raised_for_all_requests_of_its_call_only(bad: int, reason: str):
    replica = Replica()
    coalescer, few = await above_threshold(replica)
    together = submit_all(coalescer, 100, bad)
    await until(lambda: len(replica.calls) == THRESHOLD + 1)
    replica.go.set()

    for error in await asyncio.gather(*together, return_exceptions=True):
        assert isinstance(error, ValueError) and reason in str(error)
    assert await asyncio.gather(*few) == [2 * number for number in range(THRESHOLD)]
    assert await coalescer.submit(1) == 2 and replica.calls[-1] == [1], "a failed call is not in flight"


async def test_one_request_keeps_its_context_and_several_have_none():
    replica = Replica()
    REQUEST_NAME.set("the first ones")
    coalescer, few = await above_threshold(replica)

    async def submit_in(context: str, number: int) -> int:
        REQUEST_NAME.set(context)
        return await coalescer.submit(number)

    left, alone = (asyncio.create_task(submit_in(name, 100)) for name in ("left", "alone"))
    await asyncio.sleep(0)
    left.cancel()
    await until(lambda: len(replica.calls) == THRESHOLD + 1)
    several = [asyncio.create_task(submit_in(name, 200)) for name in ("one", "other")]
    await until(lambda: len(replica.calls) == THRESHOLD + 2)
    replica.go.set()

    await asyncio.gather(*few, alone, *several)
    assert replica.contexts == ["the first ones"] * THRESHOLD + ["alone", "none"]


async def test_a_call_cancelled_by_serve_raises_for_its_requests():
    async def call(_: list[int]) -> list[int]:
        raise asyncio.CancelledError

    async with asyncio.timeout(10):
        with pytest.raises(RuntimeError, match="cancelled"):
            await RequestCoalescer(call, threshold=THRESHOLD).submit(1)
