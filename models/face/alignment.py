"""The face's own coordinates, and how a face lies in a photo: numbers only, no network.

The eyes of a face seen from the front lie at (-0.5, 0) and (0.5, 0); y grows downwards and the mouth is near
y = 1.1. A place is written x + iy, so turning and scaling a face multiplies by one complex number.
"""

from collections.abc import Sequence

import numpy as np

Box = tuple[float, float, float, float]

FACE_LANDMARKS_52 = np.array([[-0.5, 0.0], [0.5, 0.0], [0.0, 0.62], [-0.4, 1.1], [0.4, 1.1]])
"""Eyes, nose, corners of the mouth: the order of ``models.face.detector.FaceLocation.landmarks``."""
FACE_CENTRE = 0.4j
FACE_SIDE = 2.7
"""From the forehead to the chin."""
MARGIN = 0.05
"""Border that crops have on each side of the face, as a fraction of ``FACE_SIDE``."""
PLAUSIBLE_SIDES = (0.6, 1.5)
"""Least and greatest side of a face by its landmarks, in longer sides of its box."""


def align(landmarks: Sequence[tuple[float, float]], box: Box) -> tuple[complex, complex]:
    """Return how a face lies in its photo: one unit along its x axis, and its centre, in pixels.

    Both fit the five landmarks best without bending the face, so they hold for a face turned aside too, whose
    eyes come close to each other. Where that contradicts the box, the box decides.
    """
    face_5 = FACE_LANDMARKS_52 @ [1, 1j]
    photo_5 = np.asarray(landmarks) @ [1, 1j]
    offset_5 = face_5 - face_5.mean()
    unit = complex((offset_5.conj() * photo_5).sum() / (abs(offset_5) ** 2).sum())
    left, top, right, bottom = box
    box_side = max(right - left, bottom - top)
    low, high = PLAUSIBLE_SIDES
    if not low * box_side <= abs(unit) * FACE_SIDE <= high * box_side:
        return complex(box_side / FACE_SIDE), complex(left + right, top + bottom) / 2
    return unit, complex(photo_5.mean() + unit * (FACE_CENTRE - face_5.mean()))


def crop_coordinates(size_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of the middle of each pixel of a crop in face coordinates, (size_px, size_px) each."""
    place = ((np.arange(size_px) + 0.5) / size_px - 0.5) * FACE_SIDE * (1 + 2 * MARGIN)
    x_HW, y_HW = np.meshgrid(place + FACE_CENTRE.real, place + FACE_CENTRE.imag)
    return x_HW, y_HW
