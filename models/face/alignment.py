"""Face coordinates and the similarity transform from them to a photo.

In face coordinates the eyes of a frontal face are at (-0.5, 0) and (0.5, 0), y grows downwards and the mouth
is near y = 1.1. A point is the complex number x + iy, so rotation and scaling are one multiplication.
"""

from collections.abc import Sequence

import numpy as np

Box = tuple[float, float, float, float]
Point = tuple[float, float]

FACE_LANDMARKS_52 = np.array([[-0.5, 0.0], [0.5, 0.0], [0.0, 0.62], [-0.4, 1.1], [0.4, 1.1]])
"""Eyes, nose, corners of the mouth, as in ``models.face.detector.FaceLocation.landmarks``."""
FACE_CENTRE = 0.4j
FACE_SIDE = 2.7
"""Side of the square from the forehead to the chin."""
MARGIN = 0.05
"""Border of a crop on each side of the face, as a fraction of ``FACE_SIDE``."""
PLAUSIBLE_SIDES = (0.6, 1.5)
"""Smallest and largest side of a face by its landmarks, as a fraction of the longer side of its box."""
QUARTER_TURNS = (1 + 0j, 1j, -1 + 0j, -1j)


def align(landmarks: Sequence[Point], box: Box) -> tuple[complex, complex]:
    """Fit the similarity transform from face coordinates to photo pixels.

    It is the least-squares fit of all five landmarks, which also holds for a face in profile, whose eyes are
    close to each other. If the fit contradicts the box, the box decides, turned by the nearest quarter.

    Returns:
        The unit vector of the face's x axis and the centre of the face, in pixels.
    """
    unit = _fitted_unit(landmarks)
    if not _fits_box(unit, box):
        left, top, right, bottom = box
        turn = max(QUARTER_TURNS, key=lambda turn: round((unit / turn).real, 6))
        return turn * _side_of(box) / FACE_SIDE, complex(left + right, top + bottom) / 2
    face_5, photo_5 = FACE_LANDMARKS_52 @ [1, 1j], np.asarray(landmarks) @ [1, 1j]
    return unit, complex(photo_5.mean() + unit * (FACE_CENTRE - face_5.mean()))


def eyes_of(landmarks: Sequence[Point], box: Box) -> tuple[Point, Point]:
    """Return the left and the right eye of the face that ``align`` fits, in pixels.

    For a frontal face they are the detected eyes; for a face in profile they keep the size of the face.
    """
    unit, centre = align(landmarks, box)
    left, right = (centre + unit * (eye - FACE_CENTRE) for eye in (-0.5, 0.5))
    return (left.real, left.imag), (right.real, right.imag)


def is_upright(landmarks: Sequence[Point], box: Box) -> bool:
    """Return whether the landmarks fit the box within 45 degrees of upright."""
    unit = _fitted_unit(landmarks)
    return _fits_box(unit, box) and abs(unit.imag) <= unit.real


def _fitted_unit(landmarks: Sequence[Point]) -> complex:
    """Return the x axis of the least-squares fit of the landmarks, in pixels."""
    face_5, photo_5 = FACE_LANDMARKS_52 @ [1, 1j], np.asarray(landmarks) @ [1, 1j]
    offset_5 = face_5 - face_5.mean()
    return complex((offset_5.conj() * photo_5).sum() / (abs(offset_5) ** 2).sum())


def _fits_box(unit: complex, box: Box) -> bool:
    low, high = PLAUSIBLE_SIDES
    return low * _side_of(box) <= abs(unit) * FACE_SIDE <= high * _side_of(box)


def _side_of(box: Box) -> float:
    left, top, right, bottom = box
    return max(right - left, bottom - top)


def crop_coordinates(size_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of each pixel centre of a crop in face coordinates, (size_px, size_px) each."""
    position = ((np.arange(size_px) + 0.5) / size_px - 0.5) * FACE_SIDE * (1 + 2 * MARGIN)
    x_HW, y_HW = np.meshgrid(position + FACE_CENTRE.real, position + FACE_CENTRE.imag)
    return x_HW, y_HW
