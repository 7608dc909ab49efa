"""Write tables and plot of ``docs/performance.md`` from ``bench/results``: ``python -m bench.report``.

The text between the marks of the document is generated, all other text is not.
"""

import json
from pathlib import Path

from bench.report_plot import draw_throughput
from bench.report_rows import detail_rows, main_rows
from bench.report_tables import lesion_tables, replica_table, request_path_table, table
from bench.results import FOLDER, Metrics
from bench.servers import ROOT

DOCUMENT, PLOT = ROOT / "docs" / "performance.md", ROOT / "docs" / "throughput.png"
MARKS = "<!-- bench.report: {} -->"
IDLE_CORES = 0.2
"""Busy cores below which a machine counts as idle."""
DETAILS = {
    "lesion_http": ("JPEG to lesion response", lesion_tables),
    "request_path": ("Request path", request_path_table),
    "replicas": ("Replicas", replica_table),
}
"""Heading and table of each measurement with more than rows of a table."""


def main() -> None:
    """Write the tables into the document, and the plot beside it."""
    measured, full = read_results(FOLDER), read_results(FOLDER / "full")
    text = DOCUMENT.read_text(encoding="utf-8")
    text = with_tables(text, "main", main_table(measured))
    DOCUMENT.write_text(with_tables(text, "details", detail_tables(measured | full)), encoding="utf-8")
    if interleaved := measured.get("interleaved"):
        draw_throughput(interleaved, PLOT)


def read_results(folder: Path) -> dict[str, Metrics]:
    """Return the results in a folder by name of the measurement."""
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))}


def with_tables(text: str, name: str, tables: str) -> str:
    """Return a document with ``tables`` between the marks of a part.

    Raises:
        ValueError: the document lacks a mark.
    """
    begin, end = MARKS.format(f"{name} begin"), MARKS.format(f"{name} end")
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"{DOCUMENT} needs the lines {begin!r} and {end!r} once each")
    head, rest = text.split(begin)
    return f"{head}{begin}\n{tables}\n{end}{rest.split(end)[1]}"


def main_table(measured: dict[str, Metrics]) -> str:
    """Return the table of the results of ``make bench``, the machine, and the plot."""
    rows = list(main_rows(measured))
    if not rows:
        return "Not measured yet."
    parts = [table(("measurement", "skinserve", "best baseline", "upper bound", "target"), rows)]
    names = ("interleaved", "decode", "start_and_memory", "overload")
    parts.append(_conditions({name: measured[name] for name in names if name in measured}))
    if "interleaved" in measured:
        parts.append(f"![Lesion photos per second by size and server]({PLOT.name})")
    return "\n\n".join(parts)


def detail_tables(measured: dict[str, Metrics]) -> str:
    """Return the tables of all other measurements."""
    rows = list(detail_rows(measured))
    if not rows:
        return "Not measured yet."
    parts = [table(("measurement", "target", "median (lowest to highest)"), rows)]
    for name, (heading, write) in DETAILS.items():
        if metrics := measured.get(name):
            parts.append(f"### {heading}\n\n{write(metrics)}")
    return "\n\n".join(parts)


def _conditions(results: dict[str, Metrics]) -> str:
    """Return machine and dates of the measurements, and a warning if the machine was not idle."""
    machine = next(iter(results.values()))["machine"]
    days = sorted({one["measured_on"] for one in results.values()})
    busy = [name for name, one in results.items() if one["load_before"] > IDLE_CORES]
    lines = [
        f"Machine: {machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']} GiB, "
        f"Python {machine['python']}, PyTorch {machine['torch']}, Ray {machine['ray']}. "
        f"Date: {', '.join(days)}."
    ]
    if busy:
        lines.append(f"**The machine was busy before {', '.join(busy)}: these values are rough.**")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
