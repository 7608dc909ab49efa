"""The plot of the Progress tab: the probability of improvement photo by photo, as coordinates for an SVG.

Colours come from the page's style sheet, so the plot follows light and dark.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from serve.progress.schemas import VerdictThresholds
from ui.rendering import format_percent, whole_percent
from ui.tabs.change_thresholds import whole_percent_improved

HEIGHT = 250  # units of the drawing, about pixels; it scales to the width of the page
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 14, 44
WIDTHS = {"wide": 560, "narrow": 320}
LINE_HEIGHT = 18  # of a text
_INSET = 24  # from the frame to the first and the last dot
_MIN_GAP = 30  # between two numbers on the axis of photos
_BASELINE = 4.5  # from the middle of a text to its baseline
_ZONES = {
    "improved": {"tone": "improved", "name": "improved"},
    "no_clear_change": {"tone": "inconclusive", "name": "no clear change"},
    "worsened": {"tone": "worsened", "name": "worsened"},
}
"""Class in the style sheet and name of the zone of each verdict."""


def progress_plots(improved: Sequence[float | None], thresholds: VerdictThresholds) -> list[dict[str, Any]]:
    """Lay out one plot for wide screens and one for narrow ones: the style sheet shows the one that fits.

    Args:
        improved: probability of improvement after each photo, in time order; None where a photo has none.
        thresholds: of the verdict; they separate the zones.

    Returns:
        The values of ``progress_plot.html.jinja``.
    """
    return [_plot(kind, width, improved, thresholds) for kind, width in WIDTHS.items()]


def _plot(
    kind: str, width: int, improved: Sequence[float | None], thresholds: VerdictThresholds
) -> dict[str, Any]:
    span = width - RIGHT - LEFT - 2 * _INSET
    gap = span / max(len(improved) - 1, 1)
    tick_step = -(-len(improved) * _MIN_GAP // span)

    def x(index: int) -> float:
        return round(LEFT + _INSET + gap * index, 1)

    return {
        "kind": kind,
        "width": width,
        "height": HEIGHT,
        "left": LEFT,
        "right": width - RIGHT,
        "zones": _zones(thresholds),
        "levels": _levels(thresholds),
        "ticks": [{"x": x(index), "number": index + 1} for index in range(0, len(improved), tick_step)],
        "dots": [
            {
                "number": index + 1,
                "x": x(index),
                "y": _y(value),
                **_ZONES[thresholds.verdict(value)],
                "percent": format_percent(whole_percent_improved(value, thresholds)),
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
    verdicts = [name for name in _ZONES if name != "no_clear_change" or thresholds.worsened is not None]
    ends = [_y(probability) for probability in (1, *(limit for limit, _ in _boundaries(thresholds)), 0)]
    zones: list[dict[str, Any]] = []
    for verdict, (top, bottom) in zip(verdicts, pairwise(ends), strict=True):
        height = round(bottom - top, 1)
        # at the lower edge the line of a series that improves slowly does not cross the name
        middle = top + LINE_HEIGHT * 0.9 if verdict == "improved" else bottom - LINE_HEIGHT * 0.9
        name_y = round(middle + _BASELINE, 1)
        has_space = height >= LINE_HEIGHT
        zones.append(_ZONES[verdict] | {"y": top, "height": height, "name_y": name_y if has_space else None})
    return zones


def _levels(thresholds: VerdictThresholds) -> list[dict[str, Any]]:
    """Return the lines across the plot with labels that do not overlap."""
    lines = [(_y(limit), format_percent(whole)) for limit, whole in _boundaries(thresholds)]
    label_y = [y for y, _ in lines]
    if len(label_y) == 2:
        apart = max(0.0, LINE_HEIGHT - (label_y[1] - label_y[0])) / 2
        label_y = [label_y[0] - apart, label_y[1] + apart]
    levels = [
        {"kind": "threshold", "y": y, "label": label, "label_y": round(middle + _BASELINE, 1)}
        for (y, label), middle in zip(lines, label_y, strict=True)
    ]
    for end, label in ((1, "100%"), (0, "0%")):
        has_space = all(abs(_y(end) - middle) >= LINE_HEIGHT for middle in label_y)
        levels.append(
            {
                "kind": "grid",
                "y": _y(end),
                "label": label if has_space else "",
                "label_y": _y(end) + _BASELINE,
            }
        )
    return levels


def _y(probability: float) -> float:
    return round(TOP + (HEIGHT - BOTTOM - TOP) * (1 - probability), 1)
