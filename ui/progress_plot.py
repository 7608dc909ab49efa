"""The plot of the Progress tab: how the probability of "improved" moved photo by photo, drawn as SVG.

Colours come from the page's style sheet, so the plot follows light and dark.
"""

from collections.abc import Sequence

WIDTH, HEIGHT = 640, 264  # units of the drawing, which scales to the width of the page
LEFT, RIGHT, TOP, BOTTOM = 50, 20, 18, 44
_MAX_LABELS = 12  # on the axis below, so that they do not touch


def progress_plot(improved: Sequence[float | None]) -> str:
    """Draw one series.

    Args:
        improved: probability of "improved" after each photo, in time order; None where a photo has none.
    """
    dots = [
        (_x(index, len(improved)), _y(value), index, value)
        for index, value in enumerate(improved)
        if value is not None
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in dots)
    marks = "".join(
        f'<circle class="dot {"improved" if value >= 0.5 else "worsened"}" cx="{x:.1f}" cy="{y:.1f}" r="5.5">'
        f"<title>after photo {index + 1}: {value:.0%}</title></circle>"
        for x, y, index, value in dots
    )
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{_in_words(dots)}">'
        f'{_background()}{_photo_axis(improved)}<polyline class="line" points="{line}"/>{marks}</svg>'
    )


def _in_words(dots: list[tuple[float, float, int, float]]) -> str:
    values = ", ".join(f"photo {index + 1} {value:.0%}" for _, _, index, value in dots)
    return f"Probability of improved after each photo: {values}" if dots else "No probability yet"


def _background() -> str:
    middle, right = _y(0.5), WIDTH - RIGHT
    levels = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{_y(value):.1f}" y2="{_y(value):.1f}"/>'
        f'<text class="axis" x="{LEFT - 9}" y="{_y(value) + 4.5:.1f}" text-anchor="end">{value:.0%}</text>'
        for value in (0, 0.5, 1)
    )
    width = right - LEFT
    return (
        f'<rect class="zone improved" x="{LEFT}" y="{TOP}" width="{width}" height="{middle - TOP:.1f}"/>'
        f'<rect class="zone worsened" x="{LEFT}" y="{middle:.1f}" width="{width}" height="{middle - TOP:.1f}"/>'
        f'{levels}<line class="half" x1="{LEFT}" x2="{right}" y1="{middle:.1f}" y2="{middle:.1f}"/>'
        f'<text class="zone-name improved" x="{LEFT + 10}" y="{TOP + 20}">improved</text>'
        f'<text class="zone-name worsened" x="{LEFT + 10}" y="{HEIGHT - BOTTOM - 10}">worsened</text>'
    )


def _photo_axis(improved: Sequence[float | None]) -> str:
    step = -(-len(improved) // _MAX_LABELS)
    baseline = HEIGHT - BOTTOM
    labels = "".join(
        f'<text class="axis" x="{_x(index, len(improved)):.1f}" y="{baseline + 19}" text-anchor="middle">{index + 1}</text>'
        for index in range(0, len(improved), step)
    )
    middle = (LEFT + WIDTH - RIGHT) / 2
    return f'{labels}<text class="axis" x="{middle}" y="{HEIGHT - 5}" text-anchor="middle">photo, oldest first</text>'


def _x(index: int, num_photos: int) -> float:
    inset = 26
    span = WIDTH - RIGHT - LEFT - 2 * inset
    return LEFT + inset + span * index / max(num_photos - 1, 1)


def _y(probability: float) -> float:
    return TOP + (HEIGHT - BOTTOM - TOP) * (1 - probability)
