"""Rows of the tables of ``docs/performance.md``."""

from collections.abc import Iterator

from bench.report_tables import number, spread
from bench.results import Metrics
from bench.scenarios.decode import PILLOW
from bench.scenarios.decode import SKINSERVE as SKINSERVE_DECODE
from bench.scenarios.lesion_http import SKINSERVE, UPPER_BOUND

Row = tuple[str, str, str]
MainRow = tuple[str, str, str, str, str]
"""What, skinserve, best baseline, upper bound, target."""


def main_rows(measured: dict[str, Metrics]) -> Iterator[MainRow]:
    """Yield the rows of the main table, for all measurements that have results."""
    if interleaved := measured.get("interleaved"):
        clients = interleaved["settings"]["clients"]
        by_size = {size: interleaved[size]["summary"] for size in interleaved["settings"]["sizes"]}
        for size, one in by_size.items():
            rates = {name.removesuffix(" per_s"): values for name, values in one.items() if "per_s" in name}
            bound, ours = rates.pop(UPPER_BOUND), rates.pop(SKINSERVE)
            best = max(rates, key=lambda name: rates[name]["median"])
            yield (
                f"lesion photos/s, {size}, {clients} clients",
                spread(ours),
                f"{number(rates[best]['median'])} ({best.partition(',')[0]})",
                number(bound["median"]),
                "",
            )
            yield (
                f"ratio of skinserve to it, {size}",
                "",
                spread(one["times_best_baseline_with_engine"]),
                spread(one["share_of_upper_bound"]),
                "1.0; " + {"12 MP": "0.80"}.get(size, "0.85"),
            )
        if one := by_size.get("224 px"):
            extra = spread(one["single_client_extra_ms"], " ms")
            yield "one client, 224 px: latency above the loop", extra, "", "", "4 ms"
    if decode := measured.get("decode", {}).get("by_size", {}).get("12 MP"):
        ms = {name: spread(values, " ms") for name, values in decode["ms"].items()}
        yield "12 MP JPEG to the network's input", ms[SKINSERVE_DECODE], f"{ms[PILLOW]} (Pillow)", "", "25 ms"
    if rest := measured.get("start_and_memory"):
        totals = next(iter(rest["summary"].values()))["totals"]
        memory = {name: value / 1000 for name, value in totals["all_memory_mb"].items()}
        yield "memory at rest, all processes", spread(memory, " GB"), "", "", "2.0 GB"
        yield "start to ready, packages installed", spread(totals["ready_s"], " s"), "", "", "15 s"
        yield "cores in use at rest", spread(totals["cores_at_rest"]), "", "", "0.08"
    if overload := measured.get("overload"):
        settings, one = overload["settings"], overload["summary"]
        what = f"overload, {settings['load_factor']:g} times the capacity for {settings['seconds']:g} s"
        accepted = spread(one["accepted_p99_in_batches"], " batches")
        yield f"{what}: p99 of accepted requests", accepted, "", "", "5 batches"
        yield "overload: p99 of rejections", spread(one["rejected_p99_ms"], " ms"), "", "", "100 ms"
        yield "overload: growth of memory", spread(one["memory_growth_mb"], " MB"), "", "", ""
        recovery = spread(one["recovery_s"], " s") if one["recovery_s"] else "never"
        if one["recovery_s"] and one["num_not_recovered"]:
            recovery += f", in {one['num_not_recovered']} runs never"
        yield "overload: usual latency of one client again after", recovery, "", "", "5 s"


def detail_rows(measured: dict[str, Metrics]) -> Iterator[Row]:
    """Yield the rows of all other measurements that have results."""
    if engines := measured.get("engine", {}).get("lesion", {}).get("batch 8"):
        int8 = {name: one["speedup"] for name, one in engines.items() if name.endswith("int8")}
        best = max(int8, key=lambda name: int8[name])
        yield "int8 engine against eager PyTorch, batches of 8", "2.5x", f"{number(int8[best])}x ({best})"
    if lesion := measured.get("lesion_http", {}).get("summary"):
        for size, one in lesion.items():
            speedup = spread(one["times_best_eager_baseline"], "x")
            yield f"{size} JPEG to lesion response, against the best eager baseline", "2.5x", speedup
    if path := measured.get("request_path", {}).get("summary"):
        for size, one in path.items():
            target = "0.5" if size == "50 KB" else ""
            yield f"echo of {size}, share of the rate of FastAPI", target, spread(one["share_of_fastapi"])
    if faces := measured.get("face_and_progress_of_photos", measured.get("face_and_progress")):
        yield from _face_rows(faces)
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
