"""The plot of the Progress tab: how the probability of "improved" moved photo by photo, drawn as SVG.

Colours come from the page's style sheet, so the plot follows light and dark.
"""

from collections.abc import Sequence

from ui.html_parts import percent

HALF = 0.5  # from here on it is "improved": the API's answer does not carry its threshold
HEIGHT = 250  # units of the drawing, about pixels; it scales to the width of the page
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 14, 44
_INSET = 24  # from the frame to the first and the last dot
_MIN_GAP = 30  # between two numbers on the axis of photos


def progress_plot(improved: Sequence[float | None]) -> str:
    """Draw one series for wide screens and again for narrow ones: the style sheet shows the one that fits.

    Args:
        improved: probability of "improved" after each photo, in time order; None where a photo has none.
    """
    return _Drawing("wide", 560, improved).svg() + _Drawing("narrow", 320, improved).svg()


class _Drawing:
    def __init__(self, kind: str, width: int, improved: Sequence[float | None]) -> None:
        self._kind = kind
        self._width = width
        self._span = width - RIGHT - LEFT - 2 * _INSET
        self._num_photos = len(improved)
        self._values = [(index, value) for index, value in enumerate(improved) if value is not None]

    def svg(self) -> str:
        words = ", ".join(f"photo {index + 1} {percent(value, limit=HALF)}" for index, value in self._values)
        return (
            f'<svg class="plot {self._kind}" viewBox="0 0 {self._width} {HEIGHT}" role="img" '
            f'aria-label="Probability of improved, after each photo: {words}">'
            f"{self._zones()}{self._levels()}{self._photo_axis()}{self._series()}</svg>"
        )

    def _zones(self) -> str:
        size = f'x="{LEFT}" width="{self._width - RIGHT - LEFT}" height="{_y(HALF) - TOP:.1f}"'
        return (
            f'<rect class="zone improved" y="{TOP}" {size}/>'
            f'<rect class="zone worsened" y="{_y(HALF):.1f}" {size}/>'
            f'<text class="zone-name improved" x="{LEFT + 10}" y="{TOP + 20}">improved</text>'
            f'<text class="zone-name worsened" x="{LEFT + 10}" y="{HEIGHT - BOTTOM - 10}">worsened</text>'
        )

    def _levels(self) -> str:
        return "".join(
            f'<line class="{"half" if value == HALF else "grid"}" x1="{LEFT}" x2="{self._width - RIGHT}" '
            f'y1="{_y(value):.1f}" y2="{_y(value):.1f}"/>'
            f'<text x="{LEFT - 8}" y="{_y(value) + 4.5:.1f}" text-anchor="end">{value:.0%}</text>'
            for value in (0, HALF, 1)
        )

    def _photo_axis(self) -> str:
        step = -(-self._num_photos * _MIN_GAP // self._span)
        below = f'text-anchor="middle" y="{HEIGHT - BOTTOM + 19}"'
        numbers = "".join(
            f'<text x="{self._x(index):.1f}" {below}>{index + 1}</text>'
            for index in range(0, self._num_photos, step)
        )
        middle = (LEFT + self._width - RIGHT) / 2
        return f'{numbers}<text text-anchor="middle" x="{middle}" y="{HEIGHT - 4}">photo, oldest first</text>'

    def _series(self) -> str:
        line = " ".join(f"{self._x(index):.1f},{_y(value):.1f}" for index, value in self._values)
        dots = "".join(
            f'<circle class="dot {"improved" if value >= HALF else "worsened"}" cx="{self._x(index):.1f}" '
            f'cy="{_y(value):.1f}" r="5.5">'
            f"<title>after photo {index + 1}: {percent(value, limit=HALF)}</title></circle>"
            for index, value in self._values
        )
        return f'<polyline class="line" points="{line}"/>{dots}'

    def _x(self, index: int) -> float:
        return LEFT + _INSET + self._span * index / max(self._num_photos - 1, 1)


def _y(probability: float) -> float:
    return TOP + (HEIGHT - BOTTOM - TOP) * (1 - probability)
