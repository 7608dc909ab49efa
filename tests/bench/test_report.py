import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bench import report, results
from bench.load import LoadResult
from bench.report_plot import draw_throughput
from bench.report_rows import detail_rows, main_rows
from bench.scenarios import interleaved, lesion_http, replicas, request_path
from bench.scenarios.face_and_progress import iou
from bench.scenarios.overload import summarize_runs as overload_summary


def test_tables_replace_the_text_between_the_marks() -> None:
    begin, end = "<!-- bench.report: main begin -->", "<!-- bench.report: main end -->"

    changed = report.with_tables(f"before\n{begin}\nold\n{end}\nafter\n", "main", "new")

    assert changed == f"before\n{begin}\nnew\n{end}\nafter\n"


def test_a_document_without_marks_is_rejected() -> None:
    with pytest.raises(ValueError, match="needs the lines"):
        report.with_tables("no marks", "main", "new")


def test_the_tables_of_the_document_match_the_results() -> None:
    text = report.DOCUMENT.read_text(encoding="utf-8")

    measured, full = report.read_results(report.FOLDER), report.read_results(report.FOLDER / "full")
    changed = report.with_tables(text, "main", report.main_table(measured))
    changed = report.with_tables(changed, "details", report.detail_tables(measured | full))

    assert changed == text, "run python -m bench.report"


def test_commands_of_the_document_are_modules_of_bench() -> None:
    text = report.DOCUMENT.read_text(encoding="utf-8")

    for module in re.findall(r"-m\s+(bench[.\w]+)", text):
        assert (report.ROOT / module.replace(".", "/")).with_suffix(".py").is_file(), module


def test_bench_does_not_import_tests() -> None:
    for file in (report.ROOT / "bench").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) tests\b", file.read_text(encoding="utf-8"), re.M), file


def test_rates_are_corrected_for_the_cpu_time_of_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "num_cores", lambda: 2)
    load = LoadResult(latencies_s={200: [0.1] * 100, 503: [0.1]}, errors=Counter(), seconds=10, cpu_s=4)

    metrics = results.summarize(load)

    assert (metrics["per_s"], metrics["corrected_per_s"], metrics["errors"]) == (10, 12.5, {"503": 1})


def test_a_load_with_another_status_than_200_is_an_error() -> None:
    load = LoadResult(latencies_s={200: [0.1], 503: [0.1]}, errors=Counter(), seconds=10, cpu_s=4)

    with pytest.raises(RuntimeError, match="every response must be 200"):
        results.successful(load, "http://127.0.0.1:1")


def test_ratios_compare_within_a_round() -> None:
    """skinserve has twice the rate of FastAPI in both rounds; the machine was faster in the second."""
    rounds = [
        {
            "skinserve": {"50 KB": {"corrected_per_s": 2.0 * speed}},
            "FastAPI": {"50 KB": {"corrected_per_s": speed}},
        }
        for speed in (100, 200)
    ]

    summary = request_path.summary(rounds)["50 KB"]

    assert summary["share_of_fastapi"] == {"median": 2, "low": 2, "high": 2}
    assert summary["per_s"]["FastAPI"] == {"median": 150, "low": 100, "high": 200}


def _lesion_round() -> dict:
    def load(rate: float) -> dict:
        return {"corrected_per_s": rate, "p50_ms": 50.0, "p95_ms": 60.0, "p99_ms": 70.0}

    return {
        "skinserve": {"12 MP": {"1": load(10), "16": load(18)}},
        "FastAPI, eager PyTorch": {"12 MP": {"16": load(4)}},
        "LitServe, eager PyTorch": {"12 MP": {"16": load(6)}},
        "FastAPI, skinserve engine": {"12 MP": {"16": load(9)}},
        "in-process upper bound": {"12 MP": {"per_s": 20.0, "single_photo_ms": 44.0}},
    }


def test_skinserve_is_compared_with_the_best_baseline_of_each_kind_and_the_upper_bound() -> None:
    summary = lesion_http.summary([_lesion_round()])["12 MP"]

    assert summary["times_best_eager_baseline"]["median"] == 3
    assert summary["times_best_baseline_with_engine"]["median"] == 2
    assert summary["share_of_upper_bound"]["median"] == 0.9
    assert summary["single_client_extra_ms"]["median"] == 6


def test_the_details_contain_rates_and_latencies() -> None:
    rounds = [_lesion_round()]
    open_loop = {"per_s": 12.0, "p50_ms": 30.0, "p95_ms": 40.0, "p99_ms": 45.0}
    for name in ("skinserve", "FastAPI, skinserve engine"):
        rounds[0][name]["12 MP"]["16"]["open_loop"] = open_loop
    metrics = {"rounds": rounds, "summary": lesion_http.summary(rounds)}

    text = report.detail_tables({"lesion_http": metrics})

    assert "| 12 MP JPEG to lesion response, against the best eager baseline | 2.5x | 3x |" in text
    assert "| 12 MP | skinserve | 10 | 18 | 50 / 70 | 30 / 45 |" in text
    assert "| 12 MP | FastAPI, skinserve engine |  | 9 | 50 / 70 | 30 / 45 |" in text
    assert "| 12 MP | in-process upper bound |  | 20 |  |  |" in text


def test_cpu_time_is_listed_by_process_for_skinserve_and_in_total_for_baselines() -> None:
    rounds = [_lesion_round(), _lesion_round()]
    for one, lesion_ms in zip(rounds, (24.0, 26.0), strict=True):
        costs = {
            "ServeReplica:api:LesionClassifier": lesion_ms,
            "haproxy": 0.2,
            "raylet": 0.02,
            "python": 0.1,
        }
        one["skinserve"]["12 MP"]["16"]["cpu_ms_per_photo"] = costs
        one["LitServe, eager PyTorch"]["12 MP"]["16"]["cpu_ms_per_photo"] = {"python": 90.0, "sh": 1.0}

    metrics = {"rounds": rounds, "summary": lesion_http.summary(rounds)}
    text = report.detail_tables({"lesion_http": metrics})

    assert "| CPU ms per photo, most clients | 12 MP |" in text
    assert "| skinserve | 25.3 |\n| of which LesionClassifier | 25 |\n| of which haproxy | 0.2 |" in text
    assert "| of which other processes of Ray and the server | 0.12 |" in text
    assert "| LitServe, eager PyTorch | 91 |" in text


def _interleaved() -> dict[str, Any]:
    cycles = [
        {
            "skinserve": skinserve,
            "in-process upper bound": upper_bound,
            "FastAPI, skinserve engine": 9.0,
            "LitServe, skinserve engine": 10.0,
            "skinserve, single client ms": 20.0,
            "in-process upper bound, single client ms": 16.0,
        }
        for skinserve, upper_bound in ((9.0, 10.0), (4.0, 5.0), (9.0, 9.0))
    ]
    settings = {"sizes": ["224 px"], "seconds": 3.0, "clients": 16}
    summary = interleaved.summary(cycles)
    return {"settings": settings, "224 px": {"cycles": cycles, "summary": summary}}


def test_interleaved_turns_are_compared_within_their_cycle() -> None:
    rows = list(main_rows({"interleaved": _interleaved()}))

    assert rows == [
        ("lesion photos/s, 224 px, 16 clients", "9 (4 to 9)", "10 (LitServe)", "9", ""),
        ("ratio of skinserve to it, 224 px", "", "0.9 (0.4 to 0.9)", "0.9 (0.8 to 1)", "1.0; 0.85"),
        ("one client, 224 px: latency above the loop", "4 ms", "", "", "4 ms"),
    ]


def test_the_main_table_names_a_busy_machine() -> None:
    conditions = {"measured_on": "2026-11-22", "machine": results.machine(), "load_before": 3.0}

    text = report.main_table({"interleaved": _interleaved() | conditions})

    assert "busy before interleaved" in text and "Date: 2026-11-22" in text


def test_the_plot_has_a_bar_for_each_server(tmp_path: Path) -> None:
    draw_throughput(_interleaved(), tmp_path / "plot.png")

    with Image.open(tmp_path / "plot.png") as plot:
        assert plot.width > 300


def test_the_details_name_the_fastest_int8_engine() -> None:
    speedups = {"pytorch": 1, "onnxruntime": 1.2, "onnxruntime-int8": 2.4, "onednn-int8": 3.1}
    engines = {name: {"speedup": value} for name, value in speedups.items()}

    rows = list(detail_rows({"engine": {"lesion": {"batch 8": engines}}}))

    assert rows == [("int8 engine against eager PyTorch, batches of 8", "2.5x", "3.1x (onednn-int8)")]


def test_the_main_table_contains_latencies_and_recovery_of_an_overload() -> None:
    runs = [
        {
            "accepted_p99_in_batches": batches,
            "rejected_p99_ms": 12.0,
            "share_of_capacity": 0.5,
            "memory_mb": {"before": 3000, "highest": 3010},
            "recovery_s": recovery_s,
        }
        for batches, recovery_s in ((3.21, 0.5), (4.0, None), (3.0, 0.5))
    ]
    overload = {"settings": {"load_factor": 10, "seconds": 60}, "summary": overload_summary(runs)}

    rows = {row[0]: row[1] for row in main_rows({"overload": overload})}

    what = "overload, 10 times the capacity for 60 s: p99 of accepted requests"
    assert rows[what] == "3.21 batches (3 to 4)"
    assert rows["overload: usual latency of one client again after"] == "0.5 s, in 1 runs never"
    assert rows["overload: growth of memory"] == "10 MB"


def test_replicas_are_compared_with_the_ideal_rate() -> None:
    one = {"per_s": 90.0, "cpu_ms_per_request": {"haproxy": 0.1}, "cores_per_replica": 0.2, "idle_cores": {}}

    summary = replicas.summary([{"2": one}], hold_s=0.02)["2"]

    assert summary["share_of_ideal"]["median"] == 0.9
    assert summary["cpu_ms_per_request"]["haproxy"]["median"] == 0.1


def test_intersection_over_union_of_boxes() -> None:
    assert iou((0, 0, 2, 2), (0, 0, 2, 2)) == 1
    assert iou((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert iou((0, 0, 1, 1), (2, 2, 3, 3)) == 0
