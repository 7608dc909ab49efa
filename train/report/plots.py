"""The plots of the evaluation report as SVG text, to stand in the page itself."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from train.report.bootstrap import NUM_BINS

INK, LINE, BAND, MARK, FAINT = "#1d2733", "#1f6f8b", "#bcdbe5", "#b3471d", "#98a5b0"
SIDE_IN = 4.3
"""As wide as a phone at the size of its text."""


def roc_plot(roc: dict[str, Any], points: Sequence[tuple[str, float, float]]) -> str:
    """Draw the ROC curve of the risk head with its 95% band.

    Args:
        points: thresholds to mark: what to call them, share of false alarms, sensitivity.
    """
    figure, axes = _square("roc")
    band = roc["band"]
    axes.fill_between(band["false_alarms"], band["low"], band["high"], color=BAND, linewidth=0)
    axes.plot(roc["false_alarms"], roc["sensitivity"], color=LINE, linewidth=1.8)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 4)))
    for (name, false_alarms, sensitivity), shape in zip(points, "oD", strict=False):
        axes.plot([false_alarms], [sensitivity], shape, color=MARK, markeredgecolor="white", label=name)
    axes.set_xlabel("false alarms: benign photos called malignant")
    axes.set_ylabel("sensitivity: malignant photos found")
    if points:
        axes.legend(loc="lower right", frameon=False, fontsize=9, handletextpad=0.2)
    return _svg(figure, "roc")


def reliability_plot(bins: Sequence[dict[str, Any]], *, said: str, happened: str) -> str:
    """Draw what happened against what was said, with 95% intervals, and below it how often it was said."""
    figure = Figure(figsize=(SIDE_IN, SIDE_IN * 1.22), layout="constrained")
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=[4.2, 1])
    _dress(axes)
    _dress(counts)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 4)))
    for one in bins:
        if one["n"]:
            x, share = one["mean_probability"], one["happened"]
            axes.plot([x, x], [share["low"], share["high"]], color=BAND, linewidth=5, solid_capstyle="butt")
    full = [one for one in bins if one["n"]]
    x = [one["mean_probability"] for one in full]
    axes.plot(x, [one["happened"]["value"] for one in full], "-o", color=LINE, linewidth=1.2, markersize=5)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_ylabel(happened)
    middles = [(number + 0.5) / NUM_BINS for number in range(NUM_BINS)]
    counts.bar(middles, [one["n"] for one in bins], width=0.9 / NUM_BINS, color=FAINT)
    counts.set_ylabel("photos")
    counts.locator_params(axis="y", nbins=3)
    counts.set_xlabel(said)
    return _svg(figure, said)


def _square(name: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(SIDE_IN, SIDE_IN), layout="constrained")
    axes = figure.subplots()
    _dress(axes)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_gid(name)
    return figure, axes


def _dress(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9, length=3)
    axes.grid(color="#e6ebef", linewidth=0.8)
    axes.set_axisbelow(True)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(INK)
        label.set_fontsize(10)


def _svg(figure: Figure, name: str) -> str:
    """Without the XML header, and the same for the same plot: ids do not depend on the moment."""
    text = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}):
        FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]
