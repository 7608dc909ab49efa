import os

import psutil

from bench.scenarios.start_and_memory import memory_by_kind, summarize, table


def test_memory_is_counted_by_kind_of_process():
    own = psutil.Process(os.getpid())

    memory = memory_by_kind([own, own])

    ((_, size),) = memory.items()
    assert size > 20_000_000


def test_the_summary_has_medians_by_kind_and_the_table_a_sum():
    same = {"start_cpu_s": 30.0, "cores_at_rest": 0.1}
    rounds = [
        {"ready_s": 20.0 + number, "memory_mb": {"raylet": 30 + number, "gcs": 50}, **same}
        for number in range(3)
    ]

    summary = summarize(rounds)

    assert summary["totals"]["ready_s"] == {"median": 21.0, "low": 20.0, "high": 22.0}
    assert summary["totals"]["all_memory_mb"]["median"] == 81
    assert table(summary["memory_mb"]).splitlines()[2:] == [
        "| gcs | 50 MB |",
        "| raylet | 31 MB |",
        "| all | 81 MB |",
    ]
