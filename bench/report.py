"""Write tables and plot of ``docs/performance.md`` from ``bench/results``: ``python -m bench.report``.

The text between the two marks of the document is generated, all other text is not.
"""

import json
from pathlib import Path

from bench.report_plot import draw_throughput
from bench.report_rows import main_rows
from bench.report_tables import lesion_tables, replica_table, request_path_table, table
from bench.results import FOLDER, Metrics
from bench.servers import ROOT

DOCUMENT, PLOT = ROOT / "docs" / "performance.md", ROOT / "docs" / "throughput.png"
BEGIN, END = "<!-- bench.report: begin -->", "<!-- bench.report: end -->"
IDLE_CORES = 0.2
"""Busy cores below which a machine counts as idle."""
DETAILS = {
    "lesion_http": ("JPEG to lesion response", lesion_tables),
    "request_path": ("Request path", request_path_table),
    "replicas": ("Replicas", replica_table),
}
"""Heading and table of each measurement with more than rows of the main table."""


def main() -> None:
    """Write the tables into the document, and the plot beside it."""
    short, full = read_results(FOLDER), read_results(FOLDER / "full")
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(with_tables(text, report(short, full)), encoding="utf-8")
    lesion = full.get("lesion_http") or short.get("lesion_http")
    if lesion:
        draw_throughput(lesion, PLOT)


def read_results(folder: Path) -> dict[str, Metrics]:
    """Return the results in a folder by name of the measurement."""
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))}


def with_tables(text: str, tables: str) -> str:
    """Return a document with ``tables`` between its marks.

    Raises:
        ValueError: the document lacks a mark.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{DOCUMENT} needs the lines {BEGIN!r} and {END!r} once each")
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{tables}\n{END}{rest.split(END)[1]}"


def report(short: dict[str, Metrics], full: dict[str, Metrics]) -> str:
    """Return the main table with its conditions, and the tables of each measurement.

    Args:
        short: results of ``make bench``.
        full: results of ``make bench-full``; its tables of the lesion route have more sizes and loads.
    """
    if not short and not full:
        return "Not measured yet."
    parts = [table(("measurement", "target", "median (lowest to highest)"), main_rows(short))]
    dated = {name: one for name, one in short.items() if "measured_on" in one}
    parts += [_conditions(dated)] if dated else []
    for name, (heading, write) in DETAILS.items():
        if metrics := short.get(name) or full.get(name):
            parts.append(f"### {heading}\n\n{write(metrics)}")
    if "lesion_http" in short and "lesion_http" in full:
        parts.append(
            f"### {DETAILS['lesion_http'][0]}, `make bench-full`\n\n{lesion_tables(full['lesion_http'])}"
        )
    if "lesion_http" in full or "lesion_http" in short:
        parts.append(f"![Photos per second by number of clients]({PLOT.name})")
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
