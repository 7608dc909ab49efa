from collections import Counter

import pytest

from bench import report, results
from bench.load import Outcome
from bench.scenarios import interleaved, lesion_http, replicas, request_path
from bench.scenarios.face_and_progress import iou


def test_the_tables_replace_what_stands_between_the_marks() -> None:
    text = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"

    changed = report.replaced(text, "new")

    assert changed == f"before\n{report.BEGIN}\nnew\n{report.END}\nafter\n"


def test_a_document_without_marks_is_left_alone() -> None:
    with pytest.raises(ValueError, match="needs the lines"):
        report.replaced("no marks", "new")


def test_the_document_says_what_the_results_say() -> None:
    text = report.DOCUMENT.read_text(encoding="utf-8")

    tables = report.report(report.read(report.FOLDER), report.read(report.FOLDER / "full"))

    assert report.replaced(text, tables) == text, "run python -m bench.report"


def test_the_generators_cpu_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "num_cores", lambda: 2)
    outcome = Outcome(latencies_s={200: [0.1] * 100, 503: [0.1]}, errors=Counter(), seconds=10, cpu_s=4)

    found = results.of_outcome(outcome)

    assert (found["per_s"], found["fair_per_s"], found["errors"]) == (10, 12.5, {"503": 1})


def test_ratios_compare_within_a_round() -> None:
    """Ours is twice FastAPI in both rounds, on a machine that was twice as fast in the second."""
    rounds = [
        {"skinserve": {"50 KB": {"fair_per_s": 2.0 * speed}}, "FastAPI": {"50 KB": {"fair_per_s": speed}}}
        for speed in (100, 200)
    ]

    found = request_path.summary(rounds)["50 KB"]

    assert found["share_of_fastapi"] == {"median": 2, "low": 2, "high": 2}
    assert found["per_s"]["FastAPI"] == {"median": 150, "low": 100, "high": 200}


def _lesion_round() -> dict:
    def load(rate: float) -> dict:
        return {"fair_per_s": rate, "p50_ms": 50.0, "p95_ms": 60.0, "p99_ms": 70.0}

    return {
        "skinserve": {"12 MP": {"1": load(10), "16": load(18)}},
        "FastAPI, eager PyTorch": {"12 MP": {"16": load(4)}},
        "LitServe, eager PyTorch": {"12 MP": {"16": load(6)}},
        "FastAPI, our engine": {"12 MP": {"16": load(9)}},
        "limit": {"12 MP": {"per_s": 20.0, "lonely_ms": 44.0}},
    }


def test_ours_is_compared_with_the_best_peer_of_each_kind_and_with_the_limit() -> None:
    found = lesion_http.summary([_lesion_round()])["12 MP"]

    assert found["times_best_eager_peer"]["median"] == 3
    assert found["times_best_peer_with_our_engine"]["median"] == 2
    assert found["share_of_limit"]["median"] == 0.9
    assert found["lonely_extra_ms"]["median"] == 6


def test_every_figure_of_the_report_comes_from_the_results() -> None:
    rounds = [_lesion_round()]
    open_loop = {"per_s": 12.0, "p50_ms": 30.0, "p95_ms": 40.0, "p99_ms": 45.0}
    rounds[0]["skinserve"]["12 MP"]["16"]["open_loop"] = open_loop
    one = {
        "measured_on": "2026-11-22",
        "machine": results.machine(),
        "load_before": 3.0,
        "rounds": rounds,
        "summary": lesion_http.summary(rounds),
    }

    text = report.report({"lesion_http": one}, {})

    assert "| 12 MP, against the best peer with our engine inside | 1.5x | 2x (2 to 2) |" in text
    assert "| 12 MP | 16 | FastAPI, our engine | 9 (9 to 9) | 50 | 60 | 70 |" in text
    assert "| 12 MP | open loop | skinserve | 12 (12 to 12) | 30 | 40 | 45 |" in text
    assert "busy before lesion_http" in text
    assert "CPU ms" not in text


def test_the_cpu_of_a_photo_is_told_by_process_for_ours_and_in_all_for_a_peer() -> None:
    rounds = [_lesion_round(), _lesion_round()]
    for one, lesion_ms in zip(rounds, (24.0, 26.0), strict=True):
        costs = {"ServeReplica:api:LesionClassifier": lesion_ms, "haproxy": 0.2, "raylet": 0.02}
        one["skinserve"]["12 MP"]["16"]["cpu_ms_per_photo"] = costs
        one["LitServe, eager PyTorch"]["12 MP"]["16"]["cpu_ms_per_photo"] = {"python": 90.0, "sh": 1.0}

    found = {"lesion_http": {"rounds": rounds, "summary": lesion_http.summary(rounds)}}
    text = report.report(found, {})

    assert "| CPU ms a photo, most clients | 12 MP |" in text
    assert "| skinserve | 25.2 |\n| of ServeReplica:api:LesionClassifier | 25 |\n| of haproxy | 0.2 |" in text
    assert "| LitServe, eager PyTorch | 91 |" in text
    assert "raylet" not in text


def test_what_took_turns_is_compared_within_its_cycle_and_stands_in_the_main_table() -> None:
    cycles = [
        {
            "skinserve": ours,
            "limit": limit,
            "FastAPI, our engine": 9.0,
            "LitServe, our engine": 10.0,
            "skinserve, lonely ms": 20.0,
            "limit, lonely ms": 16.0,
        }
        for ours, limit in ((9.0, 10.0), (4.0, 5.0), (9.0, 9.0))
    ]
    settings = {"sizes": ["12 MP"], "seconds": 3.0}
    taken = {"settings": settings, "12 MP": {"cycles": cycles, "summary": interleaved.summary(cycles)}}

    rows = list(report.main_rows({"interleaved": taken}))

    how = ", in turns of 3 s"
    assert rows == [
        (f"12 MP, against decode and engine in a loop{how}", "0.90", "0.9 (0.8 to 1)"),
        (f"12 MP, against the best peer with our engine inside{how}", "1.5x", "0.9x (0.4 to 0.9)"),
        (f"12 MP, one lonely request, more than called directly{how}", "10 ms", "4 ms (4 to 4)"),
    ]


def test_the_fastest_engine_in_8_bits_stands_in_the_main_table() -> None:
    times = {"pytorch": 1, "onnxruntime": 1.2, "onnxruntime-int8": 2.4, "onednn-int8": 3.1}
    engines = {name: {"times_reference": value} for name, value in times.items()}

    rows = list(report.main_rows({"engine": {"lesion": {"batch 8": engines}}}))

    assert rows == [("engine in 8 bits against eager PyTorch, batches of 8", "2.5x", "3.1x (onednn-int8)")]


def test_overload_stands_in_the_main_table() -> None:
    flood = {
        "settings": {"times": 10, "seconds": 60},
        "accepted_p99_in_batches": 3.21,
        "refused_p99_ms": 12.0,
        "memory_mb": {"before": 3000, "highest": 3010},
        "normal_after_s": None,
    }

    rows = [" | ".join(row) for row in report.main_rows({"overload": flood})]

    assert "10 times capacity, 60 s: 99 of 100 accepted within | 4 full batches | 3.21 full batches" in rows
    assert "normal again after | 5 s | never" in rows


def test_replicas_share_of_ideal_and_cpu_by_process() -> None:
    one = {"per_s": 90.0, "cpu_ms_per_request": {"haproxy": 0.1}, "cores_of_a_replica": 0.2, "idle_cores": {}}

    found = replicas.summary([{"2": one}], hold_s=0.02)["2"]

    assert found["share_of_ideal"]["median"] == 0.9
    assert found["cpu_ms_per_request"]["haproxy"]["median"] == 0.1


def test_overlap_of_boxes() -> None:
    assert iou((0, 0, 2, 2), (0, 0, 2, 2)) == 1
    assert iou((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert iou((0, 0, 1, 1), (2, 2, 3, 3)) == 0
