import os
import sys
import threading

import pytest

from serve.runtime.threads import ONE_THREAD, ComputeThreads, compute_threads, load_in_throwaway_thread


class Engine:
    def __init__(self) -> None:
        self.thread = threading.current_thread()
        self.num_pings = 0

    def ping(self) -> None:
        assert threading.current_thread() is self.thread
        self.num_pings += 1


def test_an_engine_is_loaded_and_pinged_in_a_thread_that_ends():
    engine = load_in_throwaway_thread(Engine)

    assert engine.num_pings == 1
    assert engine.thread is not threading.current_thread() and not engine.thread.is_alive()


def test_an_error_of_loading_is_raised():
    def load() -> Engine:
        raise OSError("no such checkpoint")

    with pytest.raises(OSError, match="no such checkpoint"):
        load_in_throwaway_thread(load)


def test_one_thread_feeds_a_gpu_and_several_share_a_cpu():
    assert compute_threads("cuda", 4) is ONE_THREAD
    assert compute_threads("cpu", 4).number == 4


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all threads of a process have one niceness")
@pytest.mark.parametrize(("niceness", "added"), [(0, 0), (5, 5), (50, 19)])
def test_compute_threads_have_a_lower_priority(niceness: int, added: int):
    found: list[int] = []

    def run() -> None:
        ComputeThreads(niceness=niceness).lower_priority()
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

    assert found == [min(19, os.getpriority(os.PRIO_PROCESS, 0) + added)]
