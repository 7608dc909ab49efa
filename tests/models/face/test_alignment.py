import numpy as np
import pytest

from models.face.alignment import (
    FACE_CENTRE,
    FACE_LANDMARKS_52,
    FACE_SIDE,
    MARGIN,
    align,
    crop_coordinates,
    eyes_of,
    is_upright,
)

UNIT = complex(30, 12)
MIDDLE = 200 + 150j


def moved_landmarks() -> list[tuple[float, float]]:
    points_5 = MIDDLE + UNIT * (FACE_LANDMARKS_52 @ [1, 1j] - FACE_CENTRE)
    return [(point.real, point.imag) for point in points_5]


def box_of(side: float) -> tuple[float, float, float, float]:
    return (MIDDLE.real - side / 2, MIDDLE.imag - side / 2, MIDDLE.real + side / 2, MIDDLE.imag + side / 2)


def test_a_rotated_and_scaled_face_is_fitted_exactly():
    unit, centre = align(moved_landmarks(), box_of(FACE_SIDE * abs(UNIT)))

    assert unit == pytest.approx(UNIT)
    assert centre == pytest.approx(MIDDLE)


def test_the_eyes_are_those_of_the_landmarks_for_a_frontal_face():
    landmarks = moved_landmarks()

    eyes = eyes_of(landmarks, box_of(FACE_SIDE * abs(UNIT)))

    assert np.asarray(eyes) == pytest.approx(np.asarray(landmarks[:2]))


def test_the_eyes_of_a_contradicted_box_have_the_distance_of_its_size():
    (left_x, left_y), (right_x, right_y) = eyes_of([(200.0, 150.0)] * 5, box_of(90.0))

    assert right_x - left_x == pytest.approx(90 / FACE_SIDE)
    assert left_y == right_y < 150


def test_a_box_that_contradicts_the_landmarks_decides():
    unit, centre = align([(200.0, 150.0)] * 5, box_of(90.0))

    assert unit == pytest.approx(90 / FACE_SIDE)
    assert centre == MIDDLE


@pytest.mark.parametrize("turn", [1, 1j, -1, -1j])
def test_a_box_that_contradicts_the_landmarks_is_turned_by_the_nearest_quarter(turn: complex):
    points_5 = MIDDLE + 5 * turn * complex(1, 0.3) * (FACE_LANDMARKS_52 @ [1, 1j])

    unit, centre = align([(point.real, point.imag) for point in points_5], box_of(90.0))

    assert unit == pytest.approx(turn * 90 / FACE_SIDE)
    assert centre == MIDDLE


def test_a_crop_spans_the_face_and_its_margin():
    x_HW, y_HW = crop_coordinates(40)

    step = FACE_SIDE * (1 + 2 * MARGIN) / 40
    assert x_HW.shape == y_HW.shape == (40, 40)
    np.testing.assert_allclose(np.diff(x_HW[0]), step)
    assert (x_HW.mean(), y_HW.mean()) == pytest.approx((FACE_CENTRE.real, FACE_CENTRE.imag))


@pytest.mark.parametrize(
    ("turn_deg", "box_scale", "expected"),
    [(0, 1.0, True), (40, 1.0, True), (-40, 1.0, True), (50, 1.0, False), (180, 1.0, False), (0, 2.0, False)],
)
def test_a_face_is_upright_if_its_landmarks_are_and_fit_the_box(
    turn_deg: float, box_scale: float, expected: bool
):
    unit = 30 * np.exp(1j * np.radians(turn_deg))
    points_5 = MIDDLE + unit * (FACE_LANDMARKS_52 @ [1, 1j] - FACE_CENTRE)

    upright = is_upright([(point.real, point.imag) for point in points_5], box_of(box_scale * FACE_SIDE * 30))

    assert upright == expected
