"""The plot of the Progress tab: the probability of improvement photo by photo, as coordinates for an SVG.

Colours come from the page's style sheet, so the plot follows light and dark.
"""

from collections.abc import Sequence
from typing import Any

from ui.rendering import percent

HALF = 0.5  # threshold of "improved": the API's answer does not carry it
HEIGHT = 250  # units of the drawing, about pixels; it scales to the width of the page
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 14, 44
WIDTHS = {"wide": 560, "narrow": 320}
_INSET = 24  # from the frame to the first and the last dot
_MIN_GAP = 30  # between two numbers on the axis of photos


def progress_plots(improved: Sequence[float | None]) -> list[dict[str, Any]]:
    """Lay out one plot for wide screens and one for narrow ones: the style sheet shows the one that fits.

    Args:
        improved: probability of improvement after each photo, in time order; None where a photo has none.

    Returns:
        The values of ``progress_plot.html.jinja``.
    """
    return [_plot(kind, width, improved) for kind, width in WIDTHS.items()]


def _plot(kind: str, width: int, improved: Sequence[float | None]) -> dict[str, Any]:
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
        "zones": [
            {"side": "improved", "y": TOP, "height": _y(HALF) - TOP, "name_y": TOP + 20},
            {"side": "worsened", "y": _y(HALF), "height": _y(0) - _y(HALF), "name_y": _y(0) - 10},
        ],
        "levels": [
            {"kind": "half" if value == HALF else "grid", "y": _y(value), "label": f"{value:.0%}"}
            for value in (0, HALF, 1)
        ],
        "ticks": [{"x": x(index), "number": index + 1} for index in range(0, len(improved), tick_step)],
        "dots": [
            {
                "number": index + 1,
                "x": x(index),
                "y": _y(value),
                "side": "improved" if value >= HALF else "worsened",
                "percent": percent(value, limit=HALF),
            }
            for index, value in enumerate(improved)
            if value is not None
        ],
    }


def _y(probability: float) -> float:
    return round(TOP + (HEIGHT - BOTTOM - TOP) * (1 - probability), 1)
