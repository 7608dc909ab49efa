import numpy as np
import pytest
from PIL import Image

from samples.series import draw_series


def redness_of(picture: Image.Image) -> float:
    """Mean of red over green in the middle of the face."""
    pixels = np.asarray(picture, float)[100:400, 140:340] + 1
    return float((pixels[..., 0] / pixels[..., 1]).mean())


def test_the_redness_of_a_series_rises_or_falls():
    better, worse = draw_series(improving=True, seed=2), draw_series(improving=False, num_photos=2, seed=2)

    assert (len(better), len(worse)) == (5, 2)
    assert redness_of(better[0]) > redness_of(better[-1]) + 0.01
    assert redness_of(worse[0]) < redness_of(worse[-1]) - 0.01


def test_a_series_of_one_photo_is_rejected():
    with pytest.raises(ValueError, match="num_photos is 1; a series has at least 2"):
        draw_series(improving=True, num_photos=1, seed=1)
