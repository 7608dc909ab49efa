"""Plot the throughput of the lesion route by size of the photos."""

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from bench.results import Metrics
from bench.scenarios.lesion_http import SKINSERVE, UPPER_BOUND

PER_S = " per_s"
COLORS = {SKINSERVE: "black", UPPER_BOUND: "lightgrey"}


def draw_throughput(interleaved: Metrics, file: Path) -> None:
    """Plot photos per second: a panel for each size, a bar with its range for each server."""
    sizes = interleaved["settings"]["sizes"]
    figure, axes = plt.subplots(1, len(sizes), figsize=(3.6 * len(sizes), 2.6), squeeze=False, sharey=True)
    for axis, size in zip(axes[0], sizes, strict=True):
        summary = interleaved[size]["summary"]
        rates = {name.removesuffix(PER_S): one for name, one in summary.items() if name.endswith(PER_S)}
        order = [name for name in rates if name not in COLORS]
        names = [UPPER_BOUND, *sorted(order, key=lambda name: rates[name]["median"]), SKINSERVE]
        medians = [rates[name]["median"] for name in names]
        below = [rates[name]["median"] - rates[name]["low"] for name in names]
        above = [rates[name]["high"] - rates[name]["median"] for name in names]
        labels = [name.partition(",")[0] for name in names]
        colors = [COLORS.get(name, "tab:blue") for name in names]
        axis.barh(labels, medians, xerr=[below, above], color=colors, ecolor="tab:orange", capsize=3)
        axis.set(title=size, xlabel="photos per second")
        axis.grid(axis="x", alpha=0.3)
        axis.set_axisbelow(True)
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    plt.close(figure)
