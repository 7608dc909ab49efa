import asyncio
import os
import sys
import threading
import time

import pytest

from serve.runtime.batching import BatchThreads, DynamicBatcher, EngineStuckError, _Job
from serve.runtime.threads import ComputeThreads


class Engine:
    """Doubles numbers while ``go`` is set; records its batches, its pings and whether two ever overlapped."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.batches: list[list[int]] = []
        self.num_pings = 0
        self.overlapped = False
        self._running = threading.Lock()

    def compute(self, numbers: list[int]) -> list[int]:
        self.batches.append(numbers)
        self._run()
        if 13 in numbers:
            raise ValueError("13 is no number")
        return [2 * number for number in numbers]

    def ping(self) -> None:
        self.num_pings += 1
        self._run()

    def _run(self) -> None:
        self.overlapped |= not self._running.acquire(blocking=False)
        self.go.wait(20)
        self._running.release()


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture
def engine():
    engine = Engine()
    yield engine
    engine.go.set()  # otherwise its thread would not end


async def test_items_that_wait_for_a_batch_form_the_next_one_up_to_the_maximum(engine: Engine):
    batcher = DynamicBatcher(engine.compute, engine.ping, max_size=4)

    first = asyncio.create_task(batcher.submit(0))
    await until(lambda: engine.batches)
    others = [asyncio.create_task(batcher.submit(number)) for number in range(1, 7)]
    await asyncio.sleep(0)
    engine.go.set()

    assert await asyncio.gather(first, *others) == [0, 2, 4, 6, 8, 10, 12]
    assert engine.batches == [[0], [1, 2, 3, 4], [5, 6]]


async def test_batches_are_limited_by_item_sizes_and_a_large_item_is_a_batch_by_itself(engine: Engine):
    batcher = DynamicBatcher(engine.compute, engine.ping, max_size=10, size_of=lambda number: number)

    first = asyncio.create_task(batcher.submit(1))
    await until(lambda: engine.batches)
    others = [asyncio.create_task(batcher.submit(number)) for number in (6, 4, 30, 5)]
    await asyncio.sleep(0)
    engine.go.set()
    await asyncio.gather(first, *others)

    assert engine.batches == [[1], [6, 4], [30], [5]]


async def test_an_item_of_a_cancelled_caller_is_not_computed(engine: Engine):
    batcher = DynamicBatcher(engine.compute, engine.ping, max_size=4)

    first = asyncio.create_task(batcher.submit(0))
    await until(lambda: engine.batches)
    cancelled, kept = asyncio.create_task(batcher.submit(1)), asyncio.create_task(batcher.submit(2))
    await asyncio.sleep(0)
    cancelled.cancel()
    first.cancel()  # its batch has started and is computed
    await asyncio.wait([cancelled, first])
    engine.go.set()

    assert await kept == 4
    assert engine.batches == [[0], [2]]


async def test_an_error_fails_its_batch_and_not_the_next_one(engine: Engine):
    engine.go.set()
    batcher = DynamicBatcher(engine.compute, engine.ping, max_size=4)

    with pytest.raises(ValueError, match="13 is no number"):
        await batcher.submit(13)

    assert await batcher.submit(5) == 10


@pytest.mark.parametrize("results", [[], [1, 1]], ids=["too few", "too many"])
async def test_a_wrong_number_of_results_fails_the_batch(results: list[int]):
    batcher: DynamicBatcher[int, int] = DynamicBatcher(lambda _: results, lambda: None, max_size=4)

    async with asyncio.timeout(10):
        with pytest.raises(ValueError, match="results for 1 items"):
            await batcher.submit(1)
        await batcher.check_alive()


@pytest.mark.parametrize("failure", [SystemExit(3), StopIteration(), asyncio.CancelledError()], ids=repr)
async def test_an_exception_that_would_end_a_thread_or_an_event_loop_becomes_an_error(
    failure: BaseException,
):
    def compute(numbers: list[int]) -> list[int]:
        if 13 in numbers:
            raise failure
        return numbers

    batcher = DynamicBatcher(compute, lambda: None, max_size=4)

    async with asyncio.timeout(10):
        with pytest.raises(RuntimeError, match=type(failure).__name__):
            await batcher.submit(13)
        assert await batcher.submit(5) == 5


async def test_an_error_of_the_metrics_is_logged_and_the_next_batch_is_computed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def batch_photos() -> None:
        raise OSError("no agent")

    monkeypatch.setattr("serve.runtime.metrics.batch_photos", batch_photos)
    engine.go.set()
    batcher = DynamicBatcher(engine.compute, engine.ping, max_size=4)

    async with asyncio.timeout(10):
        assert [await batcher.submit(number) for number in (1, 2)] == [2, 4]
    assert "no agent" in caplog.text


async def test_an_item_of_size_zero_is_computed(engine: Engine):
    engine.go.set()
    batcher = DynamicBatcher(engine.compute, engine.ping, max_size=4, size_of=lambda number: number)

    assert await batcher.submit(0) == 0
    assert (engine.batches, engine.num_pings) == ([[0]], 0)


async def test_a_failed_ping_does_not_fail_items(engine: Engine):
    def ping() -> None:
        raise OSError("no ping today")

    engine.go.set()
    batcher = DynamicBatcher(engine.compute, ping, max_size=4)
    with pytest.raises(ValueError):
        await batcher.submit(13)
    engine.go.clear()
    busy = asyncio.create_task(batcher.submit(1))
    await until(lambda: len(engine.batches) == 2)
    check, beside = asyncio.create_task(batcher.check_alive()), asyncio.create_task(batcher.submit(2))
    await asyncio.sleep(0)
    engine.go.set()

    assert await asyncio.gather(busy, beside) == [2, 4]
    with pytest.raises(OSError, match="no ping today"):
        await check


async def test_an_idle_engine_is_pinged_and_a_busy_one_is_not(engine: Engine):
    batcher = DynamicBatcher(engine.compute, engine.ping, max_size=4, stuck_after_s=20)

    busy = asyncio.create_task(batcher.submit(1))
    await until(lambda: engine.batches)
    began = time.monotonic()
    await batcher.check_alive()
    took = time.monotonic() - began
    engine.go.set()
    await busy
    pings_while_busy = engine.num_pings
    await batcher.check_alive()

    assert took < 5
    assert (pings_while_busy, engine.num_pings) == (0, 1)
    assert not engine.overlapped


async def test_an_engine_stuck_in_a_batch_fails_the_check(engine: Engine):
    batcher = DynamicBatcher(engine.compute, engine.ping, max_size=4, stuck_after_s=0.1)

    waiting = asyncio.create_task(batcher.submit(1))
    await until(lambda: engine.batches)
    await asyncio.sleep(0.15)

    with pytest.raises(EngineStuckError, match=r"more than 0\.1 s"):
        await batcher.check_alive()
    assert not waiting.done()


async def test_an_engine_stuck_in_a_ping_fails_this_check_and_the_next(engine: Engine):
    batcher = DynamicBatcher(engine.compute, engine.ping, max_size=4, stuck_after_s=1)

    with pytest.raises(EngineStuckError):
        await batcher.check_alive()
    await asyncio.sleep(1)  # the ping may have started late
    with pytest.raises(EngineStuckError):
        await batcher.check_alive()


async def test_a_busy_engine_is_pinged_after_a_failed_batch(engine: Engine):
    engine.go.set()
    batcher = DynamicBatcher(engine.compute, engine.ping, max_size=1)
    with pytest.raises(ValueError):
        await batcher.submit(13)
    engine.go.clear()

    busy = asyncio.create_task(batcher.submit(1))
    await until(lambda: len(engine.batches) == 2)
    check = asyncio.create_task(batcher.check_alive())
    await asyncio.sleep(0.05)
    assert not check.done()
    engine.go.set()
    await asyncio.gather(busy, check)

    assert engine.num_pings == 1
    assert not engine.overlapped


class TwoThreads:
    """Doubles numbers when ``go`` is set; records batches and their numbers of cores."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.started: list[tuple[int, list[int]]] = []
        self.threads = ComputeThreads(2, self.set_num_cores)
        self._own = threading.local()

    def set_num_cores(self, number: int) -> None:
        self._own.number = number

    def compute(self, numbers: list[int]) -> list[int]:
        self.started.append((self._own.number, numbers))
        self.go.wait(20)
        return [2 * number for number in numbers]


async def test_a_stuck_thread_fails_the_check_while_another_thread_fails_batches():
    released = threading.Event()

    def compute(numbers: list[int]) -> list[int]:
        if 0 in numbers:
            released.wait(20)
            return numbers
        raise ValueError("a bad batch")

    batcher = DynamicBatcher(
        compute, lambda: None, max_size=4, threads=BatchThreads(ComputeThreads(2)), stuck_after_s=0.1
    )
    stuck = asyncio.create_task(batcher.submit(0))
    await asyncio.sleep(0.15)
    with pytest.raises(ValueError, match="a bad batch"):
        await batcher.submit(1)

    with pytest.raises(EngineStuckError):
        await batcher.check_alive()
    released.set()
    assert await stuck == 0


async def test_a_single_item_gets_all_cores_and_concurrent_batches_get_one_each():
    engine = TwoThreads()
    batcher = DynamicBatcher(engine.compute, lambda: None, max_size=4, threads=BatchThreads(engine.threads))

    alone = asyncio.create_task(batcher.submit(0))
    await until(lambda: len(engine.started) == 1)
    beside = asyncio.create_task(batcher.submit(1))
    await until(lambda: len(engine.started) == 2)
    waiting = [asyncio.create_task(batcher.submit(number)) for number in range(2, 8)]
    await asyncio.sleep(0)
    engine.go.set()

    assert await asyncio.gather(alone, beside, *waiting) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert engine.started[:2] == [(2, [0]), (1, [1])]
    assert sorted(number for _, numbers in engine.started for number in numbers) == list(range(8))
    assert all(len(numbers) <= 2 for _, numbers in engine.started)


async def test_a_single_item_is_computed_by_the_first_thread_unless_it_is_busy():
    go, threads = threading.Event(), list[str]()

    def compute(numbers: list[int]) -> list[int]:
        threads.append(threading.current_thread().name)
        if 0 in numbers:
            go.wait(20)
        return numbers

    batcher = DynamicBatcher(compute, lambda: None, max_size=4, threads=BatchThreads(ComputeThreads(3)))
    async with asyncio.timeout(10):
        alone = [await batcher.submit(number) for number in range(1, 9)]
        busy = asyncio.create_task(batcher.submit(0))
        await until(lambda: len(threads) == 9)
        beside = await batcher.submit(9)
        go.set()
        await busy

    assert (alone, beside) == (list(range(1, 9)), 9)
    assert threads[:9] == ["batcher-0"] * 9
    assert threads[9] in ("batcher-1", "batcher-2")


def test_only_the_first_thread_ever_gets_all_cores():
    threads = BatchThreads(ComputeThreads(2))
    batcher = DynamicBatcher(lambda numbers: numbers, lambda: None, max_size=4, threads=threads)
    cancelled, kept = _Job(batcher, 1, 1), _Job(batcher, 2, 1)
    cancelled.result.cancel()
    with threads.arrival:  # as if the first thread had just become idle
        threads._queue.extend([cancelled, kept])
        jobs, num_cores = threads.next_batch(1)

    assert (jobs, num_cores) == ([kept], 1)


async def test_waiting_items_are_divided_among_idle_threads():
    engine = TwoThreads()
    threads = BatchThreads(engine.threads)
    batcher = DynamicBatcher(engine.compute, lambda: None, max_size=16, threads=threads)
    with threads.arrival:  # no thread starts before all items wait
        tasks = [asyncio.create_task(batcher.submit(number)) for number in range(6)]
        await asyncio.sleep(0)

    await until(lambda: len(engine.started) == 2)
    engine.go.set()

    assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8, 10]
    assert [(number, len(numbers)) for number, numbers in engine.started] == [(1, 3), (1, 3)]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all threads of a process have one niceness")
async def test_batches_are_computed_at_the_niceness_of_the_threads():
    def compute(numbers: list[int]) -> list[int]:
        return [os.getpriority(os.PRIO_PROCESS, threading.get_native_id())] * len(numbers)

    batcher = DynamicBatcher(
        compute, lambda: None, max_size=1, threads=BatchThreads(ComputeThreads(niceness=3))
    )

    assert await batcher.submit(0) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 3)


async def test_batches_have_items_of_one_model_and_keep_the_order_of_arrival(engine: Engine):
    threads, other = BatchThreads(), Engine()
    other.go.set()
    first = DynamicBatcher(engine.compute, engine.ping, max_size=4, threads=threads)
    second = DynamicBatcher(other.compute, other.ping, max_size=4, threads=threads)

    busy = asyncio.create_task(first.submit(0))
    await until(lambda: engine.batches)
    waiting = [
        asyncio.create_task(batcher.submit(number))
        for number, batcher in enumerate((second, first, second, first), 1)
    ]
    await asyncio.sleep(0)
    engine.go.set()

    assert await asyncio.gather(busy, *waiting) == [0, 2, 4, 6, 8]
    assert (engine.batches, other.batches) == ([[0], [2, 4]], [[1, 3]])


async def test_an_exclusive_model_never_runs_in_two_threads_and_does_not_block_another_one(engine: Engine):
    threads, other = BatchThreads(ComputeThreads(2)), Engine()
    other.go.set()
    exclusive = DynamicBatcher(engine.compute, engine.ping, max_size=1, threads=threads, exclusive=True)
    free = DynamicBatcher(other.compute, other.ping, max_size=1, threads=threads)

    async with asyncio.timeout(10):
        waiting = [asyncio.create_task(exclusive.submit(number)) for number in range(3)]
        await until(lambda: engine.batches)
        assert [await free.submit(number) for number in range(3)] == [0, 2, 4]
        engine.go.set()
        assert await asyncio.gather(*waiting) == [0, 2, 4]

    assert not engine.overlapped
