"""Format results as Markdown tables."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from bench.results import Metrics
from bench.scenarios.lesion_http import SKINSERVE, UPPER_BOUND

MIN_CPU_MS = 0.01
"""Rows of a CPU table with less in every column are left out."""
REPLICA = "ServeReplica:"


def lesion_tables(metrics: Metrics) -> str:
    """Return medians of throughput and latency by photo size and server, and of CPU time by process."""
    loads = list(next(iter(metrics["summary"].values()))["per_s"])
    most = max(loads, key=int)
    has_open_loop = any("open_loop" in one[most] for one in metrics["rounds"][0][SKINSERVE].values())
    head = ["photo", "server"]
    head += [f"photos/s, {load} client{'s' if load != '1' else ''}" for load in loads]
    head += [f"p50 / p99 ms, {most} clients"]
    head += ["p50 / p99 ms, open loop"] if has_open_loop else []
    rows = (
        row
        for size, summary in metrics["summary"].items()
        for row in _lesion_rows(metrics["rounds"], size, summary, len(head))
    )
    return table(tuple(head), rows) + "\n\n" + _lesion_cpu_table(metrics)


def _lesion_rows(
    rounds: list[Metrics], size: str, summary: Metrics, num_columns: int
) -> Iterator[tuple[str, ...]]:
    most = max(summary["per_s"], key=int)
    for name in summary["per_s"][most]:
        rates = [
            number(servers[name]["median"]) if name in servers else ""
            for servers in summary["per_s"].values()
        ]
        measured = [one[name][size][most] for one in rounds]
        row = [size, name, *rates, _latencies(measured)]
        if len(row) < num_columns:
            row.append(_latencies([load["open_loop"] for load in measured if "open_loop" in load]))
        yield tuple(row)
    upper_bound = number(summary["upper_bound_per_s"]["median"])
    bound = [size, UPPER_BOUND, *[""] * (len(summary["per_s"]) - 1), upper_bound]
    yield tuple(bound + [""] * (num_columns - len(bound)))


def _latencies(loads: list[Metrics]) -> str:
    """Return the medians of p50 and p99 over the rounds."""
    return " / ".join(
        number(statistics.median(load[name] for load in loads)) for name in ("p50_ms", "p99_ms") if loads
    )


def _lesion_cpu_table(metrics: Metrics) -> str:
    """Return the CPU time per photo with the most clients, for skinserve also by process."""
    columns: dict[str, dict[str, list[float]]] = {}
    for size, summary in metrics["summary"].items():
        most = max(summary["per_s"], key=int)
        rows = columns[size] = {}
        for one in metrics["rounds"]:
            for name in summary["per_s"][most]:
                by_kind = one[name][size][most].get("cpu_ms_per_photo", {})
                rows.setdefault(name, []).append(sum(by_kind.values()))
                if name == SKINSERVE:
                    for group, ms in grouped(by_kind).items():
                        rows.setdefault(f"of which {group}", []).append(ms)
    return _cpu_table("CPU ms per photo, most clients", columns)


def request_path_table(metrics: Metrics) -> str:
    """Return requests per second by body size and server."""
    names = list(next(iter(metrics["summary"].values()))["per_s"])
    rows = (
        (size, *(spread(one["per_s"][name]) for name in names)) for size, one in metrics["summary"].items()
    )
    return table(("requests/s with a body of", *names), rows)


def replica_table(metrics: Metrics) -> str:
    """Return throughput and CPU time by number of replicas."""
    summary = metrics["summary"]
    idle = [sum(cores["median"] for cores in one["idle_cores"].values()) for one in summary.values()]
    rows = [
        ("requests/s", *(spread(one["per_s"]) for one in summary.values())),
        ("cores per replica", *(number(one["cores_per_replica"]["median"]) for one in summary.values())),
        ("cores of all processes without requests", *map(number, idle)),
    ]
    columns = {
        count: {
            group: [ms]
            for group, ms in grouped(
                {kind: cost["median"] for kind, cost in one["cpu_ms_per_request"].items()}
            ).items()
        }
        for count, one in summary.items()
    }
    return table(("replicas", *summary), rows) + "\n\n" + _cpu_table("CPU ms per request, replicas", columns)


def grouped(by_kind: Mapping[str, float]) -> dict[str, float]:
    """Add up CPU time by group: busy replicas and HAProxy by name, idle replicas, Ray's other processes."""
    groups: defaultdict[str, float] = defaultdict(float)
    for kind, ms in sorted(by_kind.items(), key=lambda item: not item[0].startswith(REPLICA)):
        name = kind.rpartition(":")[2]
        if kind.startswith(REPLICA):
            is_idle = name in ("FaceDetector", "ProgressClassifier", "Page")
            groups["idle replicas" if is_idle else name] += ms
        else:
            groups["haproxy" if kind == "haproxy" else "other processes of Ray and the server"] += ms
    return dict(groups)


def _cpu_table(title: str, columns: Mapping[str, Mapping[str, list[float]]]) -> str:
    medians = {
        column: {row: statistics.median(values) for row, values in rows.items()}
        for column, rows in columns.items()
    }
    names = dict.fromkeys(name for rows in medians.values() for name in rows)
    rows = (
        (name, *(number(rows.get(name, 0)) for rows in medians.values()))
        for name in names
        if max(rows.get(name, 0) for rows in medians.values()) >= MIN_CPU_MS
    )
    return table((title, *columns), rows)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(values: dict[str, float], unit: str = "") -> str:
    """Format median, lowest and highest value."""
    if values["low"] == values["high"]:
        return f"{number(values['median'])}{unit}"
    return f"{number(values['median'])}{unit} ({number(values['low'])} to {number(values['high'])})"


def number(value: float) -> str:
    """Format a number with three digits."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
