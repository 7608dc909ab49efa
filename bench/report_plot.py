"""Plot the throughput of the lesion route against the number of clients."""

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from bench.photos import SIZES
from bench.results import Metrics
from bench.scenarios.lesion_http import SKINSERVE, UPPER_BOUND


def draw_throughput(lesion: Metrics, file: Path) -> None:
    """Plot photos per second against clients: a panel per photo size, a line per server."""
    summary = {size: lesion["summary"][size] for size in SIZES if size in lesion["summary"]}
    figure, axes = plt.subplots(1, len(summary), figsize=(4.2 * len(summary), 4), squeeze=False)
    for axis, (size, one) in zip(axes[0], summary.items(), strict=True):
        _draw_panel(axis, size, one)
    axes[0][0].set_ylabel("photos per second")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0.12, 1, 1))
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _draw_panel(axis: Axes, size: str, summary: Metrics) -> None:
    loads = sorted(summary["per_s"], key=int)
    for index, name in enumerate(summary["per_s"][loads[-1]]):
        measured = [load for load in loads if name in summary["per_s"][load]]
        is_skinserve = name == SKINSERVE
        has_engine = is_skinserve or name.endswith("skinserve engine")
        color = "black" if is_skinserve else f"C{(index - 1) % 3}"
        axis.plot(
            [int(load) for load in measured],
            [summary["per_s"][load][name]["median"] for load in measured],
            marker="o",
            color=color,
            markerfacecolor=color if has_engine else "white",
            linestyle="-" if has_engine else ":",
            linewidth=2.5 if is_skinserve else 1.5,
            label=name,
        )
    upper_bound = summary["upper_bound_per_s"]["median"]
    axis.axhline(upper_bound, color="grey", linestyle="--", linewidth=1, label=UPPER_BOUND)
    axis.set(title=size, xlabel="clients", xscale="log", ylim=(0, None))
    axis.set_xticks([int(load) for load in loads], loads)
    axis.minorticks_off()
    axis.grid(alpha=0.3)
