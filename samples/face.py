"""Draw a face with skin lesions; MTCNN detects it.

Coordinates are fractions of the picture's side, origin at its top left corner.
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from samples.canvas import Canvas, Colour, bow, mix, shade, smooth

SKIN_TONES: tuple[Colour, ...] = (
    (244, 212, 190),
    (234, 194, 166),
    (218, 174, 142),
    (192, 144, 112),
    (164, 118, 90),
)
HAIR_COLOURS: tuple[Colour, ...] = ((44, 32, 26), (78, 52, 34), (118, 80, 46), (28, 26, 30), (148, 112, 66))
SHIRT_COLOURS: tuple[Colour, ...] = ((70, 104, 128), (96, 122, 104), (128, 92, 98), (82, 86, 112))
IRIS_COLOURS: tuple[Colour, ...] = ((84, 58, 38), (70, 92, 110), (82, 96, 64))
BACKDROP: Colour = (206, 214, 216)
NUM_FAIR_TONES = 3
MAX_LESIONS = 60


def draw_face(*, num_lesions: int, redness: float, seed: int, size_px: int = 480) -> Image.Image:
    """Draw a face with skin lesions.

    Args:
        num_lesions: at most 60; a smaller number draws a subset of a larger one, at the same places.
        redness: of the lesions and the skin around them, 0 (pale) to 1 (inflamed).
        seed: equal seeds give the same person with the same lesion places.
        size_px: side of the picture.

    Raises:
        ValueError: ``num_lesions`` or ``redness`` is out of range.
    """
    if not 0 <= num_lesions <= MAX_LESIONS or not 0 <= redness <= 1:
        raise ValueError(
            f"num_lesions is {num_lesions}, redness {redness}; need 0 to {MAX_LESIONS}, and 0 to 1"
        )
    rng = np.random.default_rng(seed)
    person = _Person(rng)
    canvas = Canvas(2 * size_px, BACKDROP)
    _draw_head(canvas, person)
    _draw_lesions(canvas, _lesion_places(rng)[:num_lesions], redness)
    _draw_nose_and_mouth(canvas, person)
    for side in (-1, 1):
        _draw_eye(canvas, person, 0.5 + side * person.eye_gap)
    _draw_hair(canvas, person)
    picture = canvas.image.resize((size_px, size_px), Image.Resampling.LANCZOS)
    grain_HWC = rng.normal(0, 2.5, (size_px, size_px, 1))
    return Image.fromarray(np.clip(np.asarray(picture) + grain_HWC, 0, 255).astype(np.uint8))


class _Person:
    """Features that all photos of a person share, sampled once."""

    def __init__(self, rng: np.random.Generator) -> None:
        tone = int(rng.integers(len(SKIN_TONES)))
        fair = tone < NUM_FAIR_TONES
        self.skin = SKIN_TONES[tone]
        self.hair = HAIR_COLOURS[rng.integers(len(HAIR_COLOURS)) if fair else 3 * rng.integers(2)]
        self.shirt = SHIRT_COLOURS[rng.integers(len(SHIRT_COLOURS))]
        self.iris = IRIS_COLOURS[rng.integers(len(IRIS_COLOURS)) if fair else 0]
        self.long_hair = bool(rng.random() < 0.5)
        self.parting = float(rng.uniform(0.4, 0.6))
        self.eye_gap = float(rng.uniform(0.102, 0.108))
        self.mouth_width = float(rng.uniform(0.082, 0.095))
        self.jaw = float(rng.uniform(-0.015, 0.01))


def _draw_head(canvas: Canvas, person: _Person) -> None:
    skin, shadow = person.skin, shade(person.skin, 0.8)
    if person.long_hair:
        locks = [(0.2, 0.3), (0.5, 0.0), (0.8, 0.3), (0.83, 0.62), (0.78, 0.88), (0.22, 0.88), (0.17, 0.62)]
        canvas.polygon(smooth(locks), person.hair, blur=0.004)
    canvas.ellipses([(0.5, 1.13, 0.4, 0.27)], person.shirt, blur=0.003)
    canvas.polygon(
        smooth(
            [(0.4, 0.66), (0.6, 0.66), (0.61, 0.86), (0.66, 0.91), (0.5, 1.0), (0.34, 0.91), (0.39, 0.86)]
        ),
        shadow,
        blur=0.004,
    )
    canvas.ellipses([(0.262, 0.48, 0.03, 0.065), (0.738, 0.48, 0.03, 0.065)], shadow, blur=0.003)
    jaw = 0.22 + person.jaw
    half = [(0.2, 0.13), (0.25, 0.3), (0.245, 0.46), (jaw, 0.64), (0.13, 0.79), (0.05, 0.845)]
    outline = smooth([(0.5 + x, y) for x, y in half] + [(0.5 - x, y) for x, y in half[::-1]])
    canvas.polygon(outline, skin)
    canvas.mark_skin(outline)
    for side in (-1, 1):
        cheek = [
            (0.5 + side * x, y)
            for x, y in ((0.27, 0.25), (0.19, 0.4), (0.19, 0.58), (0.08, 0.82), (0.3, 0.86))
        ]
        canvas.polygon(cheek, shade(skin, 0.7), opacity=0.5, blur=0.03, on_skin=True)
    canvas.ellipses(
        [(0.5, 0.28, 0.12, 0.06), (0.5, 0.79, 0.05, 0.03)], shade(skin, 1.12), opacity=0.5, blur=0.03
    )
    sockets = [(0.5 + side * person.eye_gap, 0.425, 0.068, 0.042) for side in (-1, 1)]
    canvas.ellipses(sockets, shade(skin, 0.6), opacity=0.42, blur=0.02)
    blush = [(0.5 + side * 0.125, 0.57, 0.055, 0.04) for side in (-1, 1)]
    canvas.ellipses(blush, (226, 126, 112), opacity=0.2, blur=0.03)


def _draw_lesions(canvas: Canvas, places: Sequence[tuple[float, float, float]], redness: float) -> None:
    """Draw papules: a wide red halo around a darker core."""
    strength = 0.3 + 0.7 * redness
    for scale, colour, opacity, blur in (
        (2.4, (204, 92, 84), 0.34, 0.01),
        (1.0, (180, 62, 60), 0.65, 0.0045),
        (0.45, (156, 44, 46), 0.4, 0.003),
    ):
        discs = [(x, y, scale * size, 0.9 * scale * size) for x, y, size in places]
        canvas.ellipses(discs, colour, opacity=strength * opacity, blur=blur, on_skin=True)


def _lesion_places(rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """Return x, y and size of all lesions of a person: on skin, at a distance from each other."""
    places: list[tuple[float, float, float]] = []
    while len(places) < MAX_LESIONS:
        x, y, size = rng.uniform(0.28, 0.72), rng.uniform(0.21, 0.82), rng.uniform(0.0045, 0.0095)
        on_face = ((x - 0.5) / 0.21) ** 2 + ((y - 0.5) / 0.31) ** 2 < 1
        on_feature = 0.35 < y < 0.485 or (0.485 < y < 0.75 and abs(x - 0.5) < 0.115 - 0.2 * max(0, 0.6 - y))
        crowded = any(math.hypot(x - other[0], y - other[1]) < 0.02 for other in places)
        if on_face and not on_feature and not crowded:
            places.append((x, y, size))
    return places


def _draw_nose_and_mouth(canvas: Canvas, person: _Person) -> None:
    skin, deep = person.skin, shade(person.skin, 0.55)
    for side in (-1, 1):
        bridge = [
            (0.5 + side * x, y)
            for x, y in ((0.018, 0.4), (0.034, 0.41), (0.03, 0.5), (0.038, 0.58), (0.02, 0.56))
        ]
        canvas.polygon(bridge, deep, opacity=0.35, blur=0.01)
    canvas.ellipses(
        [(0.5, 0.49, 0.011, 0.075), (0.5, 0.57, 0.018, 0.016)], shade(skin, 1.16), opacity=0.5, blur=0.009
    )
    canvas.ellipses([(0.462, 0.582, 0.01, 0.018), (0.538, 0.582, 0.01, 0.018)], deep, opacity=0.4, blur=0.006)
    canvas.ellipses([(0.478, 0.59, 0.012, 0.006), (0.522, 0.59, 0.012, 0.006)], shade(skin, 0.35), blur=0.003)
    canvas.ellipses([(0.5, 0.604, 0.035, 0.008)], deep, opacity=0.35, blur=0.008)
    lips, width = mix(shade(skin, 0.85), (184, 76, 80), 0.55), person.mouth_width
    canvas.polygon(bow(0.5, 0.66, width, -0.008, 0.016), shade(lips, 0.88), blur=0.003)
    canvas.polygon(bow(0.5, 0.66, width, 0.012, 0.046), lips, blur=0.003)
    canvas.polygon(bow(0.5, 0.658, 1.08 * width, 0.013, 0.02), shade(lips, 0.4))
    canvas.ellipses([(0.5, 0.693, 0.03, 0.005)], shade(lips, 1.3), opacity=0.5, blur=0.006)
    canvas.ellipses([(0.5, 0.725, 0.055, 0.007)], deep, opacity=0.35, blur=0.01)


def _draw_eye(canvas: Canvas, person: _Person, x: float) -> None:
    deep, lash = shade(person.skin, 0.5), shade(person.hair, 0.5)
    canvas.polygon(bow(x, 0.388, 0.06, -0.026, -0.008), shade(person.hair, 0.9), opacity=0.9, blur=0.004)
    canvas.polygon(bow(x, 0.44, 0.046, -0.022, 0.017), (226, 219, 214))
    canvas.ellipses([(x, 0.437, 0.0195, 0.0195)], person.iris, blur=0.0015)
    canvas.ellipses([(x, 0.437, 0.009, 0.009)], (16, 14, 14), blur=0.001)
    canvas.ellipses([(x - 0.008, 0.43, 0.004, 0.004)], (250, 250, 250), blur=0.001)
    canvas.polygon(bow(x, 0.44, 0.05, -0.027, -0.016), lash)
    canvas.polygon(bow(x, 0.441, 0.046, 0.016, 0.019), deep, opacity=0.7)
    canvas.polygon(bow(x, 0.42, 0.05, -0.022, -0.017), deep, opacity=0.55)


def _draw_hair(canvas: Canvas, person: _Person) -> None:
    part, low = person.parting, 0.42 if person.long_hair else 0.36
    outer = [(0.22, low), (0.225, 0.2), (0.34, 0.06), (0.5, 0.04), (0.66, 0.06), (0.775, 0.2), (0.78, low)]
    inner = [(0.755, low), (0.735, 0.3), (0.66, 0.2), (part, 0.17), (0.34, 0.2), (0.265, 0.3), (0.245, low)]
    canvas.polygon(smooth(outer + inner), person.hair, blur=0.004)
    for x in np.linspace(0.32, 0.68, 6):
        top = 0.1 + 0.9 * (x - 0.5) ** 2
        strand = [(x - 0.01, top), (x + 0.01, top), (x + 0.4 * (part - x), 0.165)]
        canvas.polygon(strand, shade(person.hair, 1.6), opacity=0.3, blur=0.008)
