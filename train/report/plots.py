"""Plots of an evaluation report, as SVG for the page itself."""

import io
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from train.metrics import NUM_BINS
from train.report.sections import ReliabilityBin, RocCurve

INK, LINE, BAND, MARK, FAINT = "#1d2733", "#1f6f8b", "#bcdbe5", "#b3471d", "#98a5b0"
NEUTRAL = "#c9d2d9"
SIDE_IN = 4.3
"""Width of a phone at its text size."""


def roc_plot(roc: RocCurve, points: Sequence[tuple[str, float, float]]) -> str:
    """Draw a ROC curve with its 95% band.

    Args:
        points: thresholds to mark: name, false positive rate, sensitivity.
    """
    figure, axes = _square("roc")
    band = roc.band
    low, high = (np.array(bound, dtype=float) for bound in (band.low, band.high))  # None becomes NaN
    axes.fill_between(band.false_positive_rate, low, high, color=BAND, linewidth=0)
    axes.plot(roc.false_positive_rate, roc.sensitivity, color=LINE, linewidth=1.8)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 4)))
    for (name, x, y), marker in zip(points, "oD", strict=False):
        axes.plot([x], [y], marker, color=MARK, markeredgecolor="white", label=name)
    axes.set_xlabel("false positive rate: share of benign photos")
    axes.set_ylabel("sensitivity: share of malignant photos")
    if points:
        axes.legend(loc="lower right", frameon=False, fontsize=9, handletextpad=0.2)
    return _svg(figure, "roc")


def reliability_plot(bins: Sequence[ReliabilityBin], *, predicted: str, observed: str) -> str:
    """Draw a reliability diagram with 95% intervals above a histogram of the probabilities.

    Args:
        predicted: label of the axis of predicted probabilities.
        observed: label of the axis of observed frequencies.
    """
    figure = Figure(figsize=(SIDE_IN, SIDE_IN * 1.22), layout="constrained")
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=[4.2, 1])
    _set_style(axes)
    _set_style(counts)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 4)))
    full = [one for one in bins if one.n]
    for one in full:
        x = one.mean_probability
        interval = [one.observed.low, one.observed.high]
        axes.plot([x, x], interval, color=BAND, linewidth=5, solid_capstyle="butt")
    x = [one.mean_probability for one in full]
    axes.plot(x, [one.observed.value for one in full], "-o", color=LINE, linewidth=1.2, markersize=5)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_ylabel(observed)
    middles = [(number + 0.5) / NUM_BINS for number in range(NUM_BINS)]
    counts.bar(middles, [one.n for one in bins], width=0.9 / NUM_BINS, color=FAINT)
    counts.set_ylabel("photos")
    counts.locator_params(axis="y", nbins=3)
    counts.set_xlabel(predicted)
    return _svg(figure, predicted)


def coverage_plot(
    coverage: Sequence[float],
    curves: Mapping[str, Sequence[float | None]],
    *,
    released: tuple[float, Sequence[float | None]],
) -> str:
    """Draw error rates against the share of examples with a verdict.

    Args:
        coverage: share of the examples at each point.
        curves: error rate at each point, by name; at most two.
        released: coverage, and the error rate of each curve, at the released thresholds.
    """
    figure = Figure(figsize=(SIDE_IN, SIDE_IN * 0.9), layout="constrained")
    axes = figure.subplots()
    _set_style(axes)
    for (name, rates), colour in zip(curves.items(), (MARK, LINE), strict=False):
        axes.plot(coverage, np.array(rates, dtype=float), "-", color=colour, linewidth=1.8, label=name)
    x, values = released
    for value, colour in zip(values, (MARK, LINE), strict=False):
        if value is not None:
            axes.plot([x], [value], "o", color=colour, markeredgecolor="white", markersize=8)
    axes.axvline(x, color=FAINT, linewidth=1, linestyle=(0, (4, 4)))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("coverage: share of photos with a verdict")
    axes.set_ylabel("error rate")
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    return _svg(figure, "coverage")


def shares_plot(names: Sequence[str], shares: Mapping[str, Sequence[float | None]]) -> str:
    """Draw a stacked bar for each name, the first one at the top.

    Args:
        names: of the bars.
        shares: length of each bar's part, by name of the part; at most three.
    """
    figure = Figure(figsize=(SIDE_IN * 1.1, 0.9 + 0.24 * len(names)), layout="constrained")
    axes = figure.subplots()
    _set_style(axes)
    left = np.zeros(len(names))
    for (part, values), colour in zip(shares.items(), (MARK, NEUTRAL, LINE), strict=False):
        width = np.nan_to_num(np.array(values, dtype=float))
        axes.barh(range(len(names)), width, left=left, color=colour, height=0.72, label=part)
        left += width
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("share of photos")
    figure.legend(loc="outside upper left", ncols=len(shares), frameon=False, fontsize=9, handlelength=1)
    return _svg(figure, "shares")


def _square(name: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(SIDE_IN, SIDE_IN), layout="constrained")
    axes = figure.subplots()
    _set_style(axes)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_gid(name)
    return figure, axes


def _set_style(axes: Axes) -> None:
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
    """Return the SVG without XML header; the same plot has the same ids."""
    text = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}):
        FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]
