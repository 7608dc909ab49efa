"""Rows of the main table of ``docs/performance.md``: measurement, target, result."""

from collections.abc import Iterator

from bench.report_tables import number, spread
from bench.results import Metrics

Row = tuple[str, str, str]


def main_rows(measured: dict[str, Metrics]) -> Iterator[Row]:
    """Yield the rows of all measurements that have results."""
    if engines := measured.get("engine", {}).get("lesion", {}).get("batch 8"):
        int8 = {name: one["speedup"] for name, one in engines.items() if name.endswith("int8")}
        best = max(int8, key=lambda name: int8[name])
        yield "int8 engine against eager PyTorch, batches of 8", "2.5x", f"{number(int8[best])}x ({best})"
    if lesion := measured.get("lesion_http", {}).get("summary"):
        for size, one in lesion.items():
            speedup = spread(one["times_best_eager_baseline"], "x")
            yield f"{size} JPEG to lesion response, against the best eager baseline", "2.5x", speedup
        yield from _bound_rows(lesion, "")
    if interleaved := measured.get("interleaved"):
        by_size = {size: interleaved[size]["summary"] for size in interleaved["settings"]["sizes"]}
        yield from _bound_rows(by_size, f", interleaved turns of {interleaved['settings']['seconds']:g} s")
    if path := measured.get("request_path", {}).get("summary"):
        for size, one in path.items():
            target = "0.5" if size == "50 KB" else ""
            yield f"echo of {size}, share of the rate of FastAPI", target, spread(one["share_of_fastapi"])
    if faces := measured.get("face_and_progress_of_photos", measured.get("face_and_progress")):
        yield from _face_rows(faces)
    if overload := measured.get("overload"):
        yield from _overload_rows(overload)
    if failures := measured.get("replica_failures"):
        yield from _failure_rows(failures)
    if node := measured.get("node_failure"):
        failed = sum(node["during"]["failed"].values())
        later = sum(node["after"]["failed"].values())
        yield (
            "one of three Ray nodes killed under load",
            "failures only of requests in flight there",
            f"{failed} failed with {node['clients']} clients, {later} afterwards",
        )
    for count, one in measured.get("replicas", {}).get("summary", {}).items():
        replicas = "1 replica" if count == "1" else f"{count} replicas"
        yield f"{replicas}, share of the ideal rate", "", spread(one["share_of_ideal"])


def _bound_rows(by_size: Metrics, how: str) -> Iterator[Row]:
    """Yield comparisons with the upper bound, and with baselines that have the skinserve engine."""
    for size, one in by_size.items():
        yield f"{size}, share of the in-process upper bound{how}", "0.90", spread(one["share_of_upper_bound"])
    for size, one in by_size.items():
        target = {"224 px": "1.0x", "12 MP": "1.5x"}.get(size, "")
        speedup = spread(one["times_best_baseline_with_engine"], "x")
        yield f"{size}, against the best baseline with the skinserve engine{how}", target, speedup
    for size, one in by_size.items():
        extra = spread(one["single_client_extra_ms"], " ms")
        yield f"{size}, single client, HTTP latency above the in-process latency{how}", "10 ms", extra


def _face_rows(faces: Metrics) -> Iterator[Row]:
    for name, what, target in (
        ("faces_12_mp", "12 MP selfie: decode, detect and crop, against full size", "20x"),
        ("faces_original_size", "the same selfies in their original size", "1x"),
    ):
        one = faces[name]
        yield what, target, spread(one["speedup"], "x")
        detected = f"{one['missed']} of {one['found_by_baseline']} missed, {one['same_face']} at IoU 0.8"
        yield "their faces", "0 missed", detected
    other = faces["no_person"]
    detections = f"{other['found_by_skinserve']}, full size {other['found_by_baseline']}"
    yield (
        f"faces detected in {other['photos']} photos without a person",
        "as at full size",
        detections,
    )
    yield (
        "series of eight 12 MP selfies to progress, against full size and step-by-step ConvLSTM",
        "",
        spread(faces["series"]["speedup"], "x"),
    )
    convlstm = faces["convlstm"]
    yield "ConvLSTM, 8 photos, against 30 padded steps", "3x", spread(convlstm["speedup"], "x")
    yield "its largest difference of a probability", "1e-4", f"{convlstm['largest_difference']:.0e}"


def _overload_rows(overload: Metrics) -> Iterator[Row]:
    settings, memory = overload["settings"], overload["memory_mb"]
    what = f"overload, {settings['load_factor']:g} times the capacity for {settings['seconds']:g} s"
    accepted = f"{number(overload['accepted_p99_in_batches'])} full batches"
    yield f"{what}: p99 of accepted requests", "time of 4 full batches", accepted
    yield "overload: p99 of rejections", "100 ms", f"{number(overload['rejected_p99_ms'])} ms"
    yield "overload: memory before and highest", "equal", f"{memory['before']} and {memory['highest']} MB"
    recovery = overload["recovery_s"]
    result = "never" if recovery is None else f"{number(recovery)} s"
    yield "overload: usual latency of a single client again after", "5 s", result


def _failure_rows(failures: Metrics) -> Iterator[Row]:
    settings = failures["settings"]
    for name in ("LesionClassifier", "FaceDetector", "ProgressClassifier"):
        failed = f"{failures[name]['failed']} of {sum(failures[name]['responses'].values())} requests"
        yield f"{settings['kills']} times SIGKILL of a {name} under load", "0 failed", failed
    failed = f"{failures['Gateway']['failed_per_kill']:g} per kill, {settings['clients']} clients"
    yield f"{settings['kills']} times SIGKILL of a Gateway under load", "requests in flight on it", failed
    for update in failures["rolling_updates"]:
        failed = f"{update['failed']} of {sum(update['responses'].values())} requests"
        yield "rolling update of a checkpoint under load", "0 failed", failed
