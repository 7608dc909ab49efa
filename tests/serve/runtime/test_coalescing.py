import asyncio
from contextvars import ContextVar

import pytest

from serve.runtime.coalescing import LARGEST, Bundles

BUSY = 5
OF_REQUEST: ContextVar[str] = ContextVar("of_request", default="none")


class Replica:
    """Doubles numbers once ``go`` is set; notes its calls, their contexts and which were called off."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.calls: list[list[int]] = []
        self.called_off: list[list[int]] = []
        self.contexts: list[str] = []

    async def double(self, numbers: list[int]) -> list[int]:
        self.calls.append(numbers)
        self.contexts.append(OF_REQUEST.get())
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.called_off.append(numbers)
            raise
        if 13 in numbers:
            raise ValueError("13 is no number")
        return [2 * number for number in numbers if number != 12]


def ask(bundles: Bundles[int, int], *numbers: int) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(bundles.ask(number)) for number in numbers]


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def busy(replica: Replica) -> tuple[Bundles[int, int], list[asyncio.Task[int]]]:
    """Return bundles of which so many are under way that the next wait for each other."""
    bundles = Bundles(replica.double, busy=BUSY)
    few = ask(bundles, *range(BUSY))
    await until(lambda: len(replica.calls) == BUSY)
    return bundles, few


async def test_few_questions_go_at_once_and_one_by_one():
    replica = Replica()
    replica.go.set()
    bundles = Bundles(replica.double, busy=BUSY)

    assert [await bundles.ask(number) for number in range(3)] == [0, 2, 4]
    assert await asyncio.gather(*ask(bundles, *range(BUSY))) == [2 * number for number in range(BUSY)]
    assert replica.calls == [[number] for number in (0, 1, 2, *range(BUSY))]


async def test_of_many_those_that_come_within_a_moment_travel_together():
    replica = Replica()
    bundles, few = await busy(replica)

    many = ask(bundles, *range(100, 103 + LARGEST))
    await until(lambda: len(replica.calls) == BUSY + 2)
    replica.go.set()

    answers = await asyncio.gather(*few, *many)
    assert replica.calls[BUSY:] == [
        list(range(100, 100 + LARGEST)),
        list(range(100 + LARGEST, 103 + LARGEST)),
    ]
    assert answers == [2 * number for number in (*range(BUSY), *range(100, 103 + LARGEST))]
    assert await bundles.ask(7) == 14 and replica.calls[-1] == [7], "all is quiet again"


async def test_who_leaves_before_the_bundle_does_is_not_in_it():
    replica = Replica()
    bundles, few = await busy(replica)
    first, second = ask(bundles, 100, 101)
    await asyncio.sleep(0)
    first.cancel()
    await until(lambda: len(replica.calls) == BUSY + 1)
    replica.go.set()

    assert await second == 202
    assert replica.calls[-1] == [101]
    await asyncio.gather(*few)


async def test_a_call_is_called_off_when_all_who_travel_in_it_have_left():
    replica = Replica()
    bundles, few = await busy(replica)
    first, second, third = ask(bundles, 100, 101, 102)
    await until(lambda: len(replica.calls) == BUSY + 1)

    first.cancel()
    second.cancel()
    await asyncio.sleep(0.02)
    assert not replica.called_off, "the third still waits"
    third.cancel()
    await until(lambda: replica.called_off)
    assert replica.called_off == [[100, 101, 102]]

    replica.go.set()
    assert await asyncio.gather(*few) == [2 * number for number in range(BUSY)]
    assert await bundles.ask(1) == 2 and replica.calls[-1] == [1], "what was called off is not under way"


async def test_an_open_bundle_that_all_have_left_is_not_sent():
    replica = Replica()
    bundles, few = await busy(replica)
    (gone,) = ask(bundles, 100)
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0.05)
    replica.go.set()

    await asyncio.gather(*few)
    assert len(replica.calls) == BUSY


@pytest.mark.parametrize(("bad", "reason"), [(13, "13 is no number"), (12, "gave 1 answers to 2 questions")])
async def test_an_error_reaches_all_who_travel_together_and_nobody_else(bad: int, reason: str):
    replica = Replica()
    bundles, few = await busy(replica)
    together = ask(bundles, 100, bad)
    await until(lambda: len(replica.calls) == BUSY + 1)
    replica.go.set()

    for error in await asyncio.gather(*together, return_exceptions=True):
        assert isinstance(error, ValueError) and reason in str(error)
    assert await asyncio.gather(*few) == [2 * number for number in range(BUSY)]
    assert await bundles.ask(1) == 2 and replica.calls[-1] == [1], "what failed is not under way"


async def test_one_travels_in_the_context_of_its_request_and_several_in_that_of_none():
    replica = Replica()
    OF_REQUEST.set("of the first ones")
    bundles, few = await busy(replica)

    async def ask_in(context: str, number: int) -> int:
        OF_REQUEST.set(context)
        return await bundles.ask(number)

    left, alone = (asyncio.create_task(ask_in(name, 100)) for name in ("left", "alone"))
    await asyncio.sleep(0)
    left.cancel()
    await until(lambda: len(replica.calls) == BUSY + 1)
    several = [asyncio.create_task(ask_in(name, 200)) for name in ("one", "other")]
    await until(lambda: len(replica.calls) == BUSY + 2)
    replica.go.set()

    await asyncio.gather(*few, alone, *several)
    assert replica.contexts == ["of the first ones"] * BUSY + ["alone", "none"]


async def test_a_call_that_is_called_off_by_others_leaves_nobody_waiting():
    async def call(_: list[int]) -> list[int]:
        raise asyncio.CancelledError

    async with asyncio.timeout(10):
        with pytest.raises(RuntimeError, match="called off"):
            await Bundles(call, busy=BUSY).ask(1)
