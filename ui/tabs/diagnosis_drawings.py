"""Draw what is often seen in a lesion of each diagnosis, as SVG: skin, shape, colours and structures.

The drawings are schematic. They show the usual signs of dermatoscopy, such as in Kittler et al. 2016,
"Standardization of terminology in dermoscopy/dermatoscopy".
"""

import math
import random
from collections.abc import Callable
from functools import lru_cache

from markupsafe import Markup

from ui.translation import N_

_SIDE = 120
_MIDDLE = _SIDE / 2

DIAGNOSIS_SIGNS = {
    N_("Nevus"): N_("Even shape and colour, often with a regular brown net that fades at the edge."),
    N_("Melanoma"): N_("Uneven shape, ragged edge, several colours: brown, black, blue-grey, red or white."),
    N_("Basal Cell Carcinoma"): N_(
        "Shiny pink, with fine branching vessels, blue-grey spots or a small sore."
    ),
    N_("Actinic Keratosis"): N_("A red, rough patch without a sharp edge, with white or yellow scales."),
    N_("Squamous Cell Carcinoma"): N_("A firm red patch or knot with a yellow-white crust or an open sore."),
    N_("Pigmented Benign Keratosis"): N_(
        "A brown patch with a sharp edge that looks stuck on, with white dots and dark plugs."
    ),
    N_("Dermatofibroma"): N_("A pale, scar-like middle with a fine brown net around it."),
    N_("Vascular Lesion"): N_("Round red, blue or purple areas with a sharp edge, like small lakes."),
}
"""Signs in words, by the name of the diagnosis; they are also the caption of the drawing."""


@lru_cache
def diagnosis_drawing(name: str) -> Markup | None:
    """Return the drawing of a diagnosis as ``<svg>``; None for a diagnosis without one."""
    draw = _DRAWINGS.get(name)
    if draw is None:
        return None
    skin = f'<rect width="{_SIDE}" height="{_SIDE}" rx="10" fill="#eec3a8"/>'
    return Markup(  # only numbers and colours of this module
        f'<svg class="drawing" viewBox="0 0 {_SIDE} {_SIDE}" aria-hidden="true" focusable="false">'
        f"{skin}{draw(random.Random(name))}</svg>"
    )


def _nevus(rng: random.Random) -> str:
    return _soft(rng, 38, 0.05, "#8a5a38") + _net(rng, 32, "#5f3a22") + _soft(rng, 14, 0.05, "#6b4226")


def _melanoma(rng: random.Random) -> str:
    parts = [_blob(rng, 58, 62, 44, 0.3, "#7a4a2c"), _blob(rng, 44, 52, 22, 0.4, "#2b1a14")]
    parts += [_blob(rng, 76, 70, 19, 0.3, "#66758c", 0.85), _blob(rng, 66, 40, 12, 0.3, "#f3e4dc", 0.9)]
    parts += [_blob(rng, 44, 84, 11, 0.3, "#c0574c", 0.85)]
    return "".join(parts) + _dots(rng, 14, 46, (1.2, 2.6), "#1c110d")


def _basal_cell_carcinoma(rng: random.Random) -> str:
    parts = [_soft(rng, 42, 0.08, "#e79a92"), _blob(rng, 50, 48, 15, 0.2, "#fbe3dc", 0.6)]
    parts += [_vessel(rng, angle) for angle in (-2.6, -1.1, 0.3, 1.7)]
    parts += [_blob(rng, x, y, 5, 0.2, "#5f6b82") for x, y in ((80, 76), (88, 62), (40, 84))]
    return "".join(parts) + _blob(rng, 64, 66, 8, 0.3, "#9c2f2a") + _blob(rng, 64, 66, 4, 0.3, "#5c1512")


def _actinic_keratosis(rng: random.Random) -> str:
    scales = "".join(_blob(rng, *_inside(rng, 30), rng.uniform(3, 6), 0.4, "#fbf3da", 0.9) for _ in range(16))
    return _soft(rng, 44, 0.2, "#dd7f74") + _dots(rng, 22, 40, (1.2, 2.2), "#b5473f") + scales


def _squamous_cell_carcinoma(rng: random.Random) -> str:
    parts = [_soft(rng, 44, 0.12, "#d9776c"), _blob(rng, 60, 60, 30, 0.12, "#c75a50")]
    parts += [_blob(rng, 58, 58, 19, 0.3, "#f1dfa8"), _blob(rng, 62, 62, 9, 0.4, "#d3b45f")]
    return "".join(parts) + _dots(rng, 10, 36, (1.5, 2.6), "#7d1f1b")


def _pigmented_benign_keratosis(rng: random.Random) -> str:
    parts = [_blob(rng, 60, 60, 42, 0.1, "#8d6240"), _blob(rng, 56, 58, 32, 0.12, "#9d7350", 0.8)]
    return "".join(parts) + _dots(rng, 13, 36, (1.5, 3), "#f7ecd9") + _dots(rng, 12, 36, (2, 4), "#3c2516")


def _dermatofibroma(rng: random.Random) -> str:
    middle = _blob(rng, 60, 60, 17, 0.15, "#f7e6dc") + _blob(rng, 60, 60, 11, 0.15, "#fdf5f0")
    return _soft(rng, 42, 0.06, "#c79a78") + _net(rng, 38, "#8a5c3c") + middle


def _vascular_lesion(rng: random.Random) -> str:
    lakes = ((46, 44, 15), (72, 42, 13), (84, 64, 11), (60, 66, 14), (40, 74, 12), (66, 88, 10))
    colours = ("#a3203a", "#8c1c4a", "#6b2360", "#b52a35", "#7b2452", "#9a1f3f")
    return _soft(rng, 44, 0.06, "#dd8f90") + "".join(
        _blob(rng, x, y, radius, 0.1, colour) for (x, y, radius), colour in zip(lakes, colours, strict=True)
    )


_DRAWINGS: dict[str, Callable[[random.Random], str]] = {
    "Nevus": _nevus,
    "Melanoma": _melanoma,
    "Basal Cell Carcinoma": _basal_cell_carcinoma,
    "Actinic Keratosis": _actinic_keratosis,
    "Squamous Cell Carcinoma": _squamous_cell_carcinoma,
    "Pigmented Benign Keratosis": _pigmented_benign_keratosis,
    "Dermatofibroma": _dermatofibroma,
    "Vascular Lesion": _vascular_lesion,
}


def _blob(
    rng: random.Random, x: float, y: float, radius: float, wobble: float, colour: str, opacity: float = 1
) -> str:
    """Return a closed curve around a point; ``wobble`` is the variation of its radius, as a fraction."""
    count = 14
    radii = [radius * (1 + rng.uniform(-wobble, wobble)) for _ in range(count)]
    points = [
        (x + r * math.cos(math.tau * index / count), y + r * math.sin(math.tau * index / count))
        for index, r in enumerate(radii)
    ]
    middles = [
        ((px + qx) / 2, (py + qy) / 2)
        for (px, py), (qx, qy) in zip(points, points[1:] + points[:1], strict=True)
    ]
    curves = "".join(
        f"Q{px:.0f} {py:.0f} {mx:.0f} {my:.0f}" for (px, py), (mx, my) in zip(points, middles, strict=True)
    )
    start = middles[-1]
    return f'<path d="M{start[0]:.0f} {start[1]:.0f}{curves}Z" fill="{colour}" opacity="{opacity:g}"/>'


def _soft(rng: random.Random, radius: float, wobble: float, colour: str) -> str:
    """Return an area in the middle whose edge fades into the skin."""
    return "".join(
        _blob(rng, _MIDDLE, _MIDDLE, radius * share, wobble, colour, 0.4) for share in (1.12, 1, 0.88)
    )


def _net(rng: random.Random, radius: float, colour: str) -> str:
    """Return a net of rings, as pigment between the ridges of the skin draws it."""
    step = 8.0
    rows = range(-int(radius / step), int(radius / step) + 1)
    rings = [
        (_MIDDLE + step * (column + (row % 2) / 2), _MIDDLE + step * 0.87 * row)
        for row in rows
        for column in rows
    ]
    circles = "".join(
        f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{rng.uniform(3.4, 4.2):.1f}"/>'
        for x, y in rings
        if math.hypot(x - _MIDDLE, y - _MIDDLE) < radius
    )
    return f'<g fill="none" stroke="{colour}" stroke-width="1.2" opacity="0.6">{circles}</g>'


def _dots(rng: random.Random, count: int, radius: float, sizes: tuple[float, float], colour: str) -> str:
    circles = ""
    for _ in range(count):
        x, y = _inside(rng, radius - sizes[1])
        circles += f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{rng.uniform(*sizes):.1f}"/>'
    return f'<g fill="{colour}">{circles}</g>'


def _inside(rng: random.Random, radius: float) -> tuple[float, float]:
    """Return a random point at most ``radius`` from the middle."""
    angle, distance = rng.uniform(0, math.tau), radius * math.sqrt(rng.random())
    return _MIDDLE + distance * math.cos(angle), _MIDDLE + distance * math.sin(angle)


def _vessel(rng: random.Random, angle: float) -> str:
    """Return a fine vessel from the edge towards the middle, with branches."""
    x, y = _MIDDLE + 40 * math.cos(angle), _MIDDLE + 40 * math.sin(angle)
    path, heading = f"M{x:.0f} {y:.0f}", angle + math.pi
    for _ in range(3):
        heading += rng.uniform(-0.4, 0.4)
        x, y = x + 9 * math.cos(heading), y + 9 * math.sin(heading)
        path += f"L{x:.0f} {y:.0f}"
        side = heading + rng.choice((-0.9, 0.9))
        path += f"l{8 * math.cos(side):.0f} {8 * math.sin(side):.0f}M{x:.0f} {y:.0f}"
    return f'<path d="{path}" fill="none" stroke="#b3262b" stroke-width="1.6" stroke-linejoin="round"/>'
