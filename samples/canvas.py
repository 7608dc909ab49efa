"""Draw soft shapes over each other.

Coordinates are fractions of the picture's side, origin at its top left corner.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
Point = tuple[float, float]


class Canvas:
    """Hold a picture and draw soft shapes on it; shapes ``on_skin`` are clipped to the face."""

    def __init__(self, side_px: int, backdrop: Colour) -> None:
        self.side_px = side_px
        self.image = Image.new("RGB", (side_px, side_px), backdrop)
        self._skin_mask = Image.new("L", (side_px, side_px))

    def mark_skin(self, outline: Sequence[Point]) -> None:
        """Set the outline of the face, which clips shapes ``on_skin``."""
        ImageDraw.Draw(self._skin_mask).polygon(self._scaled(outline), fill=255)

    def ellipses(
        self,
        discs: Sequence[tuple[float, float, float, float]],
        colour: Colour,
        *,
        opacity: float = 1.0,
        blur: float = 0.002,
        on_skin: bool = False,
    ) -> None:
        """Draw ellipses, each (centre x, centre y, half width, half height), as one layer."""

        def paint(draw: ImageDraw.ImageDraw) -> None:
            for x, y, a, b in discs:
                draw.ellipse([v * self.side_px for v in (x - a, y - b, x + a, y + b)], fill=255)

        self._draw_layer(paint, colour, opacity, blur, on_skin)

    def polygon(
        self,
        points: Sequence[Point],
        colour: Colour,
        *,
        opacity: float = 1.0,
        blur: float = 0.002,
        on_skin: bool = False,
    ) -> None:
        """Fill a closed outline."""
        scaled = self._scaled(points)
        self._draw_layer(lambda draw: draw.polygon(scaled, fill=255), colour, opacity, blur, on_skin)

    def _draw_layer(
        self,
        paint: Callable[[ImageDraw.ImageDraw], None],
        colour: Colour,
        opacity: float,
        blur: float,
        on_skin: bool,
    ) -> None:
        mask = Image.new("L", self.image.size)
        paint(ImageDraw.Draw(mask))
        drawn = mask.getbbox()
        if drawn is None:
            return
        margin_px = math.ceil(3 * blur * self.side_px)
        box = (
            max(0, drawn[0] - margin_px),
            max(0, drawn[1] - margin_px),
            min(self.side_px, drawn[2] + margin_px),
            min(self.side_px, drawn[3] + margin_px),
        )
        part = mask.crop(box).filter(ImageFilter.GaussianBlur(blur * self.side_px))
        part = part.point([round(opacity * value) for value in range(256)])
        if on_skin:
            part = ImageChops.multiply(part, self._skin_mask.crop(box))
        self.image.paste(colour, box, part)

    def _scaled(self, points: Sequence[Point]) -> list[Point]:
        return [(x * self.side_px, y * self.side_px) for x, y in points]


def bow(x: float, y: float, half_width: float, upper: float, lower: float) -> list[Point]:
    """Return a shape with corners at (x +- half_width, y), its middle from ``upper`` to ``lower`` below y."""
    u = np.linspace(-1, 1, 25)
    bulge = (1 - u**2) ** 0.8
    upper_edge = list(zip(x + half_width * u, y + upper * bulge, strict=True))
    return [*upper_edge, *list(zip(x + half_width * u, y + lower * bulge, strict=True))[::-1]]


def smooth(points: list[Point]) -> list[Point]:
    """Round the corners of a closed outline. Source: Chaikin 1974."""
    for _ in range(4):
        points = [
            (a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1]))
            for a, b in zip(points, [*points[1:], points[0]], strict=True)
            for t in (0.25, 0.75)
        ]
    return points


def shade(colour: Colour, factor: float) -> Colour:
    """Scale the brightness of a colour."""
    red, green, blue = (min(255, round(value * factor)) for value in colour)
    return red, green, blue


def mix(colour: Colour, other: Colour, share: float) -> Colour:
    """Mix a ``share`` of another colour into a colour."""
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(colour, other, strict=True))
    return red, green, blue
