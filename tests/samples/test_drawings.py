import numpy as np
import pytest
from PIL import Image

from samples.drawings import draw_face, draw_lesion, draw_series


def redness_of(picture: Image.Image) -> float:
    """Mean of red over green in the middle of the face."""
    pixels = np.asarray(picture, float)[100:400, 140:340] + 1
    return float((pixels[..., 0] / pixels[..., 1]).mean())


def test_the_same_seed_draws_the_same_lesion():
    assert draw_lesion(seed=3, size_px=100).tobytes() == draw_lesion(seed=3, size_px=100).tobytes()
    assert draw_lesion(seed=3, size_px=100).tobytes() != draw_lesion(seed=4, size_px=100).tobytes()


def test_a_lesion_is_darker_in_the_middle_than_at_the_border():
    pixels = np.asarray(draw_lesion(seed=5, size_px=200), float)

    assert pixels.shape == (200, 200, 3)
    assert pixels[80:120, 80:120].mean() < pixels[:30].mean() - 30


def test_the_same_seed_draws_the_same_person_and_lesion_places():
    calm, few, many = (np.asarray(draw_face(spots=n, redness=0.8, seed=7), int) for n in (0, 8, 30))
    changed_by_few, changed_by_many = np.abs(few - calm).max(-1) > 8, np.abs(many - calm).max(-1) > 8

    assert 0 < changed_by_few.mean() < changed_by_many.mean() < 0.2
    assert (changed_by_few & ~changed_by_many).mean() < 0.001
    assert (
        draw_face(spots=8, redness=0.8, seed=7).tobytes() == draw_face(spots=8, redness=0.8, seed=7).tobytes()
    )


@pytest.mark.parametrize(("spots", "redness"), [(-1, 0.5), (61, 0.5), (5, 1.1)])
def test_impossible_faces_are_refused(spots: int, redness: float):
    with pytest.raises(ValueError, match="need 0 to 60"):
        draw_face(spots=spots, redness=redness, seed=1)


def test_a_series_gets_redder_or_calmer():
    better, worse = draw_series(improving=True, seed=2), draw_series(improving=False, num_photos=2, seed=2)

    assert (len(better), len(worse)) == (5, 2)
    assert redness_of(better[0]) > redness_of(better[-1]) + 0.01
    assert redness_of(worse[0]) < redness_of(worse[-1]) - 0.01


def test_a_series_of_one_photo_is_refused():
    with pytest.raises(ValueError, match="num_photos is 1; a series has at least 2"):
        draw_series(improving=True, num_photos=1, seed=1)
