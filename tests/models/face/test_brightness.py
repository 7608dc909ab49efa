import numpy as np
import pytest

from models.face.brightness import face_brightness


def crop_of(level: int, side: int = 64) -> np.ndarray:
    return np.full((side, side, 3), level, np.uint8)


@pytest.mark.parametrize(("level", "luminance"), [(255, 1.0), (188, 0.503), (128, 0.216), (0, 0.005)])
def test_brightness_is_linear_luminance_and_never_zero(level: int, luminance: float):
    assert face_brightness(crop_of(level)) == pytest.approx(luminance, abs=0.001)


def test_only_the_middle_of_the_face_counts():
    crop = crop_of(200)
    crop[:16] = crop[:, :16] = 0
    crop[30:34, 30:34] = 0

    assert face_brightness(crop) == face_brightness(crop_of(200))


def test_green_is_brighter_than_blue():
    green, blue = crop_of(0), crop_of(0)
    green[..., 1] = blue[..., 2] = 255

    assert face_brightness(green) == pytest.approx(0.7152) and face_brightness(blue) == pytest.approx(0.0722)
