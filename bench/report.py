"""The tables and plot of ``docs/performance.md``, written from ``bench/results``: ``python -m bench.report``.

What stands between the two marks of the document comes from here, and nothing else does.
"""

import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from bench import results
from bench.photos import SIZES
from bench.results import FOLDER
from bench.servers import ROOT

DOCUMENT, PLOT = ROOT / "docs" / "performance.md", ROOT / "docs" / "throughput.png"
BEGIN, END = "<!-- bench.report: begin -->", "<!-- bench.report: end -->"
AT_REST = 0.2
"""Busy cores up to which a machine counts as at rest."""
LEAST_CPU_MS = 0.1
"""Processes that take less of a photo are left out."""
Figures = dict[str, Any]


def main() -> None:
    """Write the tables into the document, and the plot beside it."""
    found, full = read(FOLDER), read(FOLDER / "full")
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(replaced(text, report(found, full)), encoding="utf-8")
    lesion = full.get("lesion_http") or found.get("lesion_http")
    if lesion:
        draw(lesion, PLOT)


def read(folder: Path) -> dict[str, Figures]:
    """Return the results in a folder by the name of the measurement."""
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))}


def replaced(text: str, tables: str) -> str:
    """Put the tables between the marks of a document.

    Raises:
        ValueError: the document lacks a mark.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{DOCUMENT} needs the lines {BEGIN!r} and {END!r} once each")
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{tables}\n{END}{rest.split(END)[1]}"


def report(found: dict[str, Figures], full: dict[str, Figures]) -> str:
    """Return the main table, what it was taken from, and the matrix if there is one."""
    if not found and not full:
        return "Not measured yet."
    parts = [table(("what", "must reach", "measured: median (lowest to highest)"), main_rows(found))]
    dated = {name: one for name, one in found.items() if "measured_on" in one}
    parts += [_origin(dated)] if dated else []
    for figures, title in ((found, ""), (full, ", whole matrix")):
        parts += [
            f"### {heading}{title}\n\n{write(figures[name])}"
            for name, (heading, write) in _DETAILS.items()
            if name in figures
        ]
    if "lesion_http" in full or "lesion_http" in found:
        parts.append(f"![Photos per second by number of clients]({PLOT.name})")
    return "\n\n".join(parts)


def main_rows(found: dict[str, Figures]) -> Iterator[tuple[str, str, str]]:
    """Yield what issue 4 asks for, of what was measured."""
    if engines := found.get("engine", {}).get("lesion", {}).get("batch 8"):
        name = max((one for one in engines if one.endswith("int8")), key=lambda one: _times(engines, one))
        times = f"{number(_times(engines, name))}x ({name})"
        yield "engine in 8 bits against eager PyTorch, batches of 8", "2.5x", times
    if lesion := found.get("lesion_http", {}).get("summary"):
        for size, one in lesion.items():
            yield (
                f"{size} JPEG to lesion answer, against the best peer with eager PyTorch",
                "2.5x",
                spread(one["times_best_eager_peer"], "x"),
            )
        yield from _close_rows(lesion, "")
    if turns := found.get("interleaved"):
        close = {size: turns[size]["summary"] for size in turns["settings"]["sizes"]}
        yield from _close_rows(close, f", in turns of {turns['settings']['seconds']:g} s")
    if path := found.get("request_path", {}).get("summary"):
        for size, one in path.items():
            must = "0.5" if size == "50 KB" else ""
            yield f"{size} body, against bare FastAPI", must, spread(one["share_of_fastapi"])
    if selfies := found.get("face_and_progress_of_photos", found.get("face_and_progress")):
        yield from _selfie_rows(selfies)
    if flood := found.get("overload"):
        flooded = f"{flood['settings']['times']:g} times capacity, {flood['settings']['seconds']:g} s"
        batches = f"{number(flood['accepted_p99_in_batches'])} full batches"
        yield f"{flooded}: 99 of 100 accepted within", "4 full batches", batches
        yield "its refusals, 99 of 100 within", "100 ms", f"{number(flood['refused_p99_ms'])} ms"
        memory = flood["memory_mb"]
        yield "its memory, before and at most", "flat", f"{memory['before']} and {memory['highest']} MB"
        normal = flood["normal_after_s"]
        yield "normal again after", "5 s", "never" if normal is None else f"{number(normal)} s"
    if kills := found.get("replica_failures"):
        yield from _kill_rows(kills)
    if nodes := found.get("node_failure"):
        failed = sum(nodes["while a node dies"]["failed"].values())
        later = sum(nodes["after"]["failed"].values())
        yield (
            "three Ray nodes, one killed under load",
            "0 failed but those in flight there",
            f"{failed} failed of {nodes['clients']} clients, {later} after",
        )
    if replicas := found.get("replicas", {}).get("summary"):
        for count, one in replicas.items():
            yield (
                f"{count} replicas, share of {count} times one on its own",
                "",
                spread(one["share_of_ideal"]),
            )


def _close_rows(by_size: Figures, how: str) -> Iterator[tuple[str, str, str]]:
    """Yield what is compared with the limit, and with peers that have our engine."""
    for size, one in by_size.items():
        yield f"{size}, against decode and engine in a loop{how}", "0.90", spread(one["share_of_limit"])
    for size, one in by_size.items():
        must = {"224 px": "1.0x", "12 MP": "1.5x"}.get(size, "")
        peer = spread(one["times_best_peer_with_our_engine"], "x")
        yield f"{size}, against the best peer with our engine inside{how}", must, peer
    for size, one in by_size.items():
        lonely = spread(one["lonely_extra_ms"], " ms")
        yield f"{size}, one lonely request, more than called directly{how}", "10 ms", lonely


def _times(engines: Figures, name: str) -> float:
    return engines[name]["times_reference"]


def _selfie_rows(selfies: Figures) -> Iterator[tuple[str, str, str]]:
    for name, what, must in (
        ("faces_12_mp", "selfie of 12 MP, decode + detect + crop, against full size", "20x"),
        ("faces_own_size", "the same at its own size", "1x"),
    ):
        one = selfies[name]
        yield what, must, spread(one["times_faster"], "x")
        faces = f"{one['lost']} of {one['found_by_them']} lost, {one['same_face']} at IoU 0.8"
        yield "its face", "0 lost", faces
    others = selfies["others"]
    they = f"{others['found_by_us']} false faces, full size {others['found_by_them']}, in {others['photos']}"
    yield "photos without a person", "no more than full size", they
    yield (
        "8 selfies of 12 MP to the progress answer, against full size and plain ConvLSTM",
        "",
        spread(selfies["series"]["times_faster"], "x"),
    )
    convlstm = selfies["convlstm"]
    yield "ConvLSTM, 8 photos, against 30 padded steps", "3x", spread(convlstm["times_faster"], "x")
    yield "its largest difference", "1e-4", f"{convlstm['largest_difference']:.0e}"


def _kill_rows(kills: Figures) -> Iterator[tuple[str, str, str]]:
    number_of = kills["settings"]["kills"]
    for name in ("LesionClassifier", "FaceDetector", "ProgressClassifier"):
        told = f"{kills[name]['failed']} of {sum(kills[name]['answers'].values())} requests"
        yield f"`kill -9` of a {name} under load, {number_of} times", "0 failed", told
    gateway = kills["Gateway"]
    in_flight = f"{gateway['failed_per_kill']:g} a kill, of {kills['settings']['clients']} clients"
    yield f"`kill -9` of a Gateway under load, {number_of} times", "those in flight on it", in_flight
    for update in kills["rolling updates"]:
        told = f"{update['failed']} of {sum(update['answers'].values())} requests"
        yield "rolling update of a checkpoint under load", "0 failed", told


def _lesion_table(figures: Figures) -> str:
    rows: list[tuple[str, ...]] = []
    for size, one in figures["summary"].items():
        for clients, servers in one["per_s"].items():
            for name, rate in servers.items():
                loads = [one[name][size][clients] for one in figures["rounds"]]
                rows.append((size, clients, name, spread(rate), *_latencies(loads)))
                if "open_loop" in loads[0]:
                    arrivals = [load["open_loop"] for load in loads]
                    per_s = results.spread([load["per_s"] for load in arrivals])
                    rows.append((size, "open loop", name, spread(per_s), *_latencies(arrivals)))
        rows.append((size, "", "decode and engine in a loop", spread(one["limit_per_s"]), "", "", ""))
    head = ("photo", "clients", "server", "photos/s", "p50 ms", "p95 ms", "p99 ms")
    return table(head, rows) + _cpu_table(figures)


def _cpu_table(figures: Figures) -> str:
    """Say where the CPU time of a photo goes with the most clients, by process for ours."""
    rounds = figures["rounds"]
    sizes = list(figures["summary"])
    spent: dict[str, dict[str, list[float]]] = {}
    for size in sizes:
        clients = max(figures["summary"][size]["per_s"], key=int)
        for one in rounds:
            for name, found in one.items():
                by_kind = found[size].get(clients, {}).get("cpu_ms_per_photo", {})
                parts = {f"of {kind}": ms for kind, ms in by_kind.items()} if name == "skinserve" else {}
                for row, ms in ({name: sum(by_kind.values())} | parts if by_kind else {}).items():
                    spent.setdefault(row, {}).setdefault(size, []).append(ms)
    rows = [
        (row, *(number(statistics.median(by_size.get(size, [0]))) for size in sizes))
        for row, by_size in spent.items()
        if max(statistics.median(found) for found in by_size.values()) >= LEAST_CPU_MS
    ]
    return "\n\n" + table(("CPU ms a photo, most clients", *sizes), rows) if rows else ""


def _latencies(loads: list[Figures]) -> list[str]:
    """Return the medians of p50, p95 and p99 over the rounds."""
    return [
        number(statistics.median(load[name] for load in loads)) for name in ("p50_ms", "p95_ms", "p99_ms")
    ]


def _path_table(figures: Figures) -> str:
    names = list(next(iter(figures["summary"].values()))["per_s"])
    rows = [
        (size, *(spread(one["per_s"][name]) for name in names)) for size, one in figures["summary"].items()
    ]
    return table(("requests/s with a body of", *names), rows)


def _replica_table(figures: Figures) -> str:
    summary = figures["summary"]
    kinds = sorted({kind for one in summary.values() for kind in one["cpu_ms_per_request"]})
    rows = [("requests/s", *(spread(one["per_s"]) for one in summary.values()))]
    rows.append(("cores a replica uses", *(spread(one["cores_of_a_replica"]) for one in summary.values())))
    idle = [sum(cores["median"] for cores in one["idle_cores"].values()) for one in summary.values()]
    rows.append(("cores used at rest, all processes", *map(number, idle)))
    for kind in kinds:
        costs = [one["cpu_ms_per_request"].get(kind, {"median": 0}) for one in summary.values()]
        if max(cost["median"] for cost in costs) >= 0.01:
            rows.append((f"CPU ms a request, {kind}", *(number(cost["median"]) for cost in costs)))
    return table(("replicas", *summary), rows)


_DETAILS: dict[str, tuple[str, Callable[[Figures], str]]] = {
    "lesion_http": ("JPEG to lesion answer", _lesion_table),
    "request_path": ("The way of a request", _path_table),
    "replicas": ("Replicas", _replica_table),
}


def draw(lesion: Figures, file: Path) -> None:
    """Plot photos per second against clients, a panel a size, a line a server."""
    summary = {size: lesion["summary"][size] for size in SIZES if size in lesion["summary"]}
    figure, axes = plt.subplots(1, len(summary), figsize=(4.2 * len(summary), 4), squeeze=False)
    for axis, (size, one) in zip(axes[0], summary.items(), strict=True):
        loads = sorted(one["per_s"], key=int)
        for index, name in enumerate(one["per_s"][loads[-1]]):
            known = [load for load in loads if name in one["per_s"][load]]
            rates = [one["per_s"][load][name]["median"] for load in known]
            ours = name == "skinserve"
            our_engine = ours or name.endswith("our engine")
            color = "black" if ours else f"C{(index - 1) % 3}"
            axis.plot(
                [int(load) for load in known],
                rates,
                marker="o",
                color=color,
                markerfacecolor=color if our_engine else "white",
                linestyle="-" if our_engine else ":",
                linewidth=2.5 if ours else 1.5,
                label=name,
            )
        limit = one["limit_per_s"]["median"]
        axis.axhline(limit, color="grey", linestyle="--", linewidth=1, label="decode and engine in a loop")
        axis.set(title=size, xlabel="clients", xscale="log", ylim=(0, None))
        axis.set_xticks([int(load) for load in loads], loads)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("photos per second")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0.12, 1, 1))
    figure.savefig(file, dpi=110)
    plt.close(figure)


def table(head: tuple[str, ...], rows: Any) -> str:
    """Return a table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(found: dict[str, float], unit: str = "") -> str:
    """Write median, lowest and highest."""
    return f"{number(found['median'])}{unit} ({number(found['low'])} to {number(found['high'])})"


def number(value: float) -> str:
    """Write three digits."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _origin(found: dict[str, Figures]) -> str:
    """Say on what the figures were measured, and whether it was at rest."""
    machine = next(iter(found.values()))["machine"]
    days = sorted({one["measured_on"] for one in found.values()})
    busy = [name for name, one in found.items() if one["load_before"] > AT_REST]
    said = (
        f"Measured on {machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']} GiB, "
        f"Python {machine['python']}, PyTorch {machine['torch']}, Ray {machine['ray']}, {', '.join(days)}. "
        "Rates are corrected for the CPU time of the load generator; ratios compare within a round."
    )
    warned = f" **The machine was busy before {', '.join(busy)}: these are rough.**" if busy else ""
    return said + warned


if __name__ == "__main__":
    main()
