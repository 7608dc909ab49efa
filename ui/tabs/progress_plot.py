"""The plot of the Progress tab: the probability of improvement over time, as coordinates for an SVG.

Colours come from the page's style sheet, so the plot follows light and dark. Texts are in its template.
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from serve.progress.schemas import VerdictThresholds
from ui.rendering import exact_percent, format_percent, whole_percent
from ui.tabs.change_thresholds import whole_percent_improved
from ui.tabs.time_axis import time_axis
from ui.translation import DEFAULT_LANGUAGE

HEIGHT = 250  # units of the drawing, about pixels; it scales to the width of the page
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 14, 44
WIDTHS = {"wide": 560, "narrow": 320}
LINE_HEIGHT = 18  # of a text
_BASELINE = 4.5  # from the middle of a text to its baseline
_TONES = {"improved": "improved", "no_clear_change": "inconclusive", "worsened": "worsened"}
"""Class in the style sheet of each verdict, from the top of the plot to its bottom."""


def progress_plots(
    improved: Sequence[float | None],
    times: Sequence[datetime | None],
    thresholds: VerdictThresholds,
    language: str = DEFAULT_LANGUAGE,
) -> list[dict[str, Any]]:
    """Lay out one plot for wide screens and one for narrow ones: the style sheet shows the one that fits.

    Args:
        improved: probability of improvement after each photo, in time order; None where a photo has none.
        times: of the photos; all None if the order is not that of the times.
        thresholds: of the verdict; they separate the zones.

    Returns:
        The values of ``progress_plot.html.jinja``.
    """
    return [_plot(kind, width, improved, times, thresholds, language) for kind, width in WIDTHS.items()]


def _plot(
    kind: str,
    width: int,
    improved: Sequence[float | None],
    times: Sequence[datetime | None],
    thresholds: VerdictThresholds,
    language: str,
) -> dict[str, Any]:
    axis = time_axis(times, LEFT, width - RIGHT, language)
    return {
        "kind": kind,
        "width": width,
        "height": HEIGHT,
        "left": LEFT,
        "right": width - RIGHT,
        "zones": _zones(thresholds),
        "levels": _levels(thresholds, language),
        "axis": axis,
        "dots": [
            {
                "number": index + 1,
                "time": times[index],
                "x": axis.x[index],
                "y": _y(value),
                "verdict": thresholds.verdict(value),
                "tone": _TONES[thresholds.verdict(value)],
                "percent": format_percent(whole_percent_improved(value, thresholds), language),
            }
            for index, value in enumerate(improved)
            if value is not None
        ],
    }


def _boundaries(thresholds: VerdictThresholds) -> list[tuple[float, int]]:
    """Return the probabilities of improvement at which the verdict changes, and in percent, highest first."""
    improved, worsened = thresholds.improved, thresholds.worsened
    upper = (improved, whole_percent(improved, limit=improved))
    return (
        [upper]
        if worsened is None
        else [upper, (1 - worsened, 100 - whole_percent(worsened, limit=worsened))]
    )


def _zones(thresholds: VerdictThresholds) -> list[dict[str, Any]]:
    """Return the zones from top to bottom; ``name_y`` is None if a zone has no space for its name."""
    verdicts = [name for name in _TONES if name != "no_clear_change" or thresholds.worsened is not None]
    ends = [_y(probability) for probability in (1, *(limit for limit, _ in _boundaries(thresholds)), 0)]
    zones: list[dict[str, Any]] = []
    for verdict, (top, bottom) in zip(verdicts, pairwise(ends), strict=True):
        height = round(bottom - top, 1)
        # at the lower edge the line of a series that improves slowly does not cross the name
        middle = top + LINE_HEIGHT * 0.9 if verdict == "improved" else bottom - LINE_HEIGHT * 0.9
        name_y = round(middle + _BASELINE, 1)
        has_space = height >= LINE_HEIGHT
        zones.append(
            {
                "verdict": verdict,
                "tone": _TONES[verdict],
                "y": top,
                "height": height,
                "name_y": name_y if has_space else None,
            }
        )
    return zones


def _levels(thresholds: VerdictThresholds, language: str) -> list[dict[str, Any]]:
    """Return the lines across the plot with labels that do not overlap."""
    lines = [(_y(limit), format_percent(whole, language)) for limit, whole in _boundaries(thresholds)]
    label_y = [y for y, _ in lines]
    if len(label_y) == 2:
        apart = max(0.0, LINE_HEIGHT - (label_y[1] - label_y[0])) / 2
        label_y = [label_y[0] - apart, label_y[1] + apart]
    levels = [
        {"kind": "threshold", "y": y, "label": label, "label_y": round(middle + _BASELINE, 1)}
        for (y, label), middle in zip(lines, label_y, strict=True)
    ]
    for end in (1, 0):
        has_space = all(abs(_y(end) - middle) >= LINE_HEIGHT for middle in label_y)
        levels.append(
            {
                "kind": "grid",
                "y": _y(end),
                "label": exact_percent(100 * end, language) if has_space else "",
                "label_y": _y(end) + _BASELINE,
            }
        )
    return levels


def _y(probability: float) -> float:
    return round(TOP + (HEIGHT - BOTTOM - TOP) * (1 - probability), 1)
