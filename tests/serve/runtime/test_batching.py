import asyncio
import os
import sys
import threading
import time

import pytest

from serve.runtime.batching import Cores, DynamicBatcher, EngineStuckError, _Job, load_in_throwaway_thread


class Engine:
    """Doubles numbers while ``go`` is set; notes its batches, its pings and whether two ever ran at once."""

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
    engine.go.set()  # else its thread would linger


async def test_what_came_while_a_batch_computed_makes_the_next_one_up_to_its_size(engine: Engine):
    batcher = DynamicBatcher(engine.compute, engine.ping, max_size=4)

    first = asyncio.create_task(batcher.submit(0))
    await until(lambda: engine.batches)
    others = [asyncio.create_task(batcher.submit(number)) for number in range(1, 7)]
    await asyncio.sleep(0)
    engine.go.set()

    assert await asyncio.gather(first, *others) == [0, 2, 4, 6, 8, 10, 12]
    assert engine.batches == [[0], [1, 2, 3, 4], [5, 6]]


async def test_a_batch_is_sized_by_what_its_questions_count_and_a_large_one_goes_alone(engine: Engine):
    batcher = DynamicBatcher(engine.compute, engine.ping, max_size=10, size_of=lambda number: number)

    first = asyncio.create_task(batcher.submit(1))
    await until(lambda: engine.batches)
    others = [asyncio.create_task(batcher.submit(number)) for number in (6, 4, 30, 5)]
    await asyncio.sleep(0)
    engine.go.set()
    await asyncio.gather(first, *others)

    assert engine.batches == [[1], [6, 4], [30], [5]]


async def test_a_question_whose_caller_has_gone_is_not_computed(engine: Engine):
    batcher = DynamicBatcher(engine.compute, engine.ping, max_size=4)

    first = asyncio.create_task(batcher.submit(0))
    await until(lambda: engine.batches)
    gone, stays = asyncio.create_task(batcher.submit(1)), asyncio.create_task(batcher.submit(2))
    await asyncio.sleep(0)
    gone.cancel()
    first.cancel()  # its batch is computed all the same, and harms nobody
    await asyncio.wait([gone, first])
    engine.go.set()

    assert await stays == 4
    assert engine.batches == [[0], [2]]


async def test_an_error_reaches_its_batch_and_the_next_one_is_answered(engine: Engine):
    engine.go.set()
    batcher = DynamicBatcher(engine.compute, engine.ping, max_size=4)

    with pytest.raises(ValueError, match="13 is no number"):
        await batcher.submit(13)

    assert await batcher.submit(5) == 10


@pytest.mark.parametrize("answers", [[], [1, 1]], ids=["too few", "too many"])
async def test_another_number_of_answers_than_of_questions_is_an_error_for_all(answers: list[int]):
    batcher: DynamicBatcher[int, int] = DynamicBatcher(lambda _: answers, lambda: None, max_size=4)

    async with asyncio.timeout(10):
        with pytest.raises(ValueError, match="answers to 1 questions"):
            await batcher.submit(1)
        await batcher.check_alive()


@pytest.mark.parametrize("failure", [SystemExit(3), StopIteration(), asyncio.CancelledError()], ids=repr)
async def test_what_would_end_a_thread_or_an_event_loop_reaches_the_callers_as_an_error(
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


async def test_metrics_that_fail_are_logged_and_the_next_batch_is_answered(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def record_batch(*_: object) -> None:
        raise OSError("no agent")

    monkeypatch.setattr("serve.runtime.metrics.record_batch", record_batch)
    engine.go.set()
    batcher = DynamicBatcher(engine.compute, engine.ping, max_size=4)

    async with asyncio.timeout(10):
        assert [await batcher.submit(number) for number in (1, 2)] == [2, 4]
    assert "no agent" in caplog.text


async def test_a_question_that_counts_nothing_is_answered_all_the_same(engine: Engine):
    engine.go.set()
    batcher = DynamicBatcher(engine.compute, engine.ping, max_size=4, size_of=lambda number: number)

    assert await batcher.submit(0) == 0
    assert (engine.batches, engine.num_pings) == ([[0]], 0)


async def test_a_ping_that_fails_leaves_the_questions_beside_it_their_answers(engine: Engine):
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


async def test_an_engine_that_hangs_in_a_batch_fails_the_check(engine: Engine):
    batcher = DynamicBatcher(engine.compute, engine.ping, max_size=4, stuck_after_s=0.1)

    waiting = asyncio.create_task(batcher.submit(1))
    await until(lambda: engine.batches)
    await asyncio.sleep(0.15)

    with pytest.raises(EngineStuckError, match=r"more than 0\.1 s"):
        await batcher.check_alive()
    assert not waiting.done()


async def test_an_engine_that_hangs_in_a_ping_fails_this_check_and_the_next(engine: Engine):
    batcher = DynamicBatcher(engine.compute, engine.ping, max_size=4, stuck_after_s=0.1)

    for _ in range(2):
        with pytest.raises(EngineStuckError):
            await batcher.check_alive()


async def test_an_engine_whose_last_batch_failed_has_to_answer_a_ping_also_when_busy(engine: Engine):
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


class TwoCores:
    """Answers when ``go`` is set; notes which batches began, and with how many cores."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.began: list[tuple[int, list[int]]] = []
        self._own = threading.local()

    def use(self, number: int) -> None:
        self._own.number = number

    def compute(self, numbers: list[int]) -> list[int]:
        self.began.append((self._own.number, numbers))
        self.go.wait(20)
        return [2 * number for number in numbers]


async def test_a_core_that_hangs_fails_the_check_also_while_another_one_fails_its_batches():
    stays = threading.Event()

    def compute(numbers: list[int]) -> list[int]:
        if 0 in numbers:
            stays.wait(20)
            return numbers
        raise ValueError("a bad batch")

    batcher = DynamicBatcher(compute, lambda: None, max_size=4, cores=Cores(2), stuck_after_s=0.1)
    hanging = asyncio.create_task(batcher.submit(0))
    await asyncio.sleep(0.15)
    with pytest.raises(ValueError, match="a bad batch"):
        await batcher.submit(1)

    with pytest.raises(EngineStuckError):
        await batcher.check_alive()
    stays.set()
    assert await hanging == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all threads of a process are equally nice")
async def test_who_computes_is_nicer_than_who_started_it():
    def compute(numbers: list[int]) -> list[int]:
        return [os.getpriority(os.PRIO_PROCESS, threading.get_native_id())] * len(numbers)

    own = os.getpriority(os.PRIO_PROCESS, 0)
    found = [
        await DynamicBatcher(compute, lambda: None, max_size=1, cores=Cores(niceness=niceness)).submit(0)
        for niceness in (0, 5, 50)
    ]

    assert found == [own, min(19, own + 5), 19]


async def test_a_question_alone_gets_all_cores_and_several_get_one_for_each_batch():
    cores = TwoCores()
    batcher = DynamicBatcher(cores.compute, lambda: None, max_size=4, cores=Cores(2, cores.use))

    alone = asyncio.create_task(batcher.submit(0))
    await until(lambda: len(cores.began) == 1)
    beside = asyncio.create_task(batcher.submit(1))
    await until(lambda: len(cores.began) == 2)
    waiting = [asyncio.create_task(batcher.submit(number)) for number in range(2, 8)]
    await asyncio.sleep(0)
    cores.go.set()

    assert await asyncio.gather(alone, beside, *waiting) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert cores.began[:2] == [(2, [0]), (1, [1])]
    assert sorted(number for _, numbers in cores.began for number in numbers) == list(range(8))
    assert all(len(numbers) <= 2 for _, numbers in cores.began)


async def test_what_comes_alone_is_computed_by_the_first_thread_and_by_another_one_while_that_is_busy():
    go, threads = threading.Event(), list[str]()

    def compute(numbers: list[int]) -> list[int]:
        threads.append(threading.current_thread().name)
        if 0 in numbers:
            go.wait(20)
        return numbers

    batcher = DynamicBatcher(compute, lambda: None, max_size=4, cores=Cores(3))
    async with asyncio.timeout(10):
        alone = [await batcher.submit(number) for number in range(1, 9)]
        busy = asyncio.create_task(batcher.submit(0))
        await until(lambda: len(threads) == 9)
        beside = await batcher.submit(9)
        go.set()
        await busy

    assert (alone, beside) == (list(range(1, 9)), 9)
    assert threads[:9] == ["batches-0"] * 9
    assert threads[9] in ("batches-1", "batches-2")


def test_only_the_first_thread_ever_gets_all_cores():
    batcher = DynamicBatcher(lambda numbers: numbers, lambda: None, max_size=4, cores=Cores(2))
    gone, stays = _Job(1, 1), _Job(2, 1)
    gone.answer.cancel()
    with batcher._arrival:  # as if the first thread were just coming back
        batcher._waiting.extend([gone, stays])
        jobs, cores = batcher._next_jobs(1)

    assert (jobs, cores) == ([stays], 1)


async def test_what_came_at_once_is_shared_out_among_the_cores():
    cores = TwoCores()
    batcher = DynamicBatcher(cores.compute, lambda: None, max_size=16, cores=Cores(2, cores.use))
    with batcher._arrival:  # nobody begins before all are there
        asked = [asyncio.create_task(batcher.submit(number)) for number in range(6)]
        await asyncio.sleep(0)

    await until(lambda: len(cores.began) == 2)
    cores.go.set()

    assert await asyncio.gather(*asked) == [0, 2, 4, 6, 8, 10]
    assert [(number, len(numbers)) for number, numbers in cores.began] == [(1, 3), (1, 3)]


def test_an_engine_is_loaded_and_pinged_in_a_thread_that_has_ended(engine: Engine):
    engine.go.set()
    loading: list[threading.Thread] = []

    def load() -> Engine:
        loading.append(threading.current_thread())
        return engine

    assert load_in_throwaway_thread(load) is engine
    assert engine.num_pings == 1
    assert loading[0] is not threading.current_thread() and not loading[0].is_alive()


def test_an_engine_that_does_not_load_says_why():
    def load() -> Engine:
        raise OSError("no such checkpoint")

    with pytest.raises(OSError, match="no such checkpoint"):
        load_in_throwaway_thread(load)
