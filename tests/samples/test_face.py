import numpy as np
import pytest

from samples.face import draw_face


def test_the_same_seed_draws_the_same_person_and_lesion_places():
    none, few, many = (np.asarray(draw_face(num_lesions=n, redness=0.8, seed=7), int) for n in (0, 8, 30))
    changed_by_few, changed_by_many = np.abs(few - none).max(-1) > 8, np.abs(many - none).max(-1) > 8

    assert 0 < changed_by_few.mean() < changed_by_many.mean() < 0.2
    assert (changed_by_few & ~changed_by_many).mean() < 0.001
    assert np.array_equal(few, np.asarray(draw_face(num_lesions=8, redness=0.8, seed=7), int))


@pytest.mark.parametrize(("num_lesions", "redness"), [(-1, 0.5), (61, 0.5), (5, 1.1)])
def test_values_out_of_range_are_rejected(num_lesions: int, redness: float):
    with pytest.raises(ValueError, match="need 0 to 60"):
        draw_face(num_lesions=num_lesions, redness=redness, seed=1)
