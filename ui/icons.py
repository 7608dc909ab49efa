"""Draw the icons of the installed page."""

import io

from PIL import Image, ImageDraw

_TEAL, _WHITE = "#0b6a6a", "#ffffff"
_OVERSAMPLING = 4
_SIZES_PX = (180, 192, 512)
MASKABLE = "icons/maskable.png"
"""Systems cut a shape of their own out of this icon: its drawing stays in the inner 80%."""


def icons() -> dict[str, bytes]:
    """Return PNG files by path: one for each size, and the maskable one."""
    files = {f"icons/{size}.png": _icon(size, radius=0.42) for size in _SIZES_PX}
    return {**files, MASKABLE: _icon(512, radius=0.32)}


def _icon(size_px: int, *, radius: float) -> bytes:
    """Draw a lesion inside the ring of a lens: white on teal.

    Args:
        radius: of the ring, as a share of the side.
    """
    side = size_px * _OVERSAMPLING
    picture = Image.new("RGB", (side, side), _TEAL)
    draw = ImageDraw.Draw(picture)
    centre = side / 2
    draw.circle((centre, centre), radius * side, outline=_WHITE, width=round(0.07 * side))
    draw.circle((centre, centre), radius * side / 2, fill=_WHITE)
    png = io.BytesIO()
    picture.resize((size_px, size_px), Image.Resampling.LANCZOS).quantize(32).save(png, "PNG", optimize=True)
    return png.getvalue()
