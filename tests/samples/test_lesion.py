import numpy as np

from samples.lesion import draw_lesion


def test_the_same_seed_draws_the_same_lesion():
    assert draw_lesion(seed=3, size_px=100).tobytes() == draw_lesion(seed=3, size_px=100).tobytes()
    assert draw_lesion(seed=3, size_px=100).tobytes() != draw_lesion(seed=4, size_px=100).tobytes()


def test_a_lesion_is_darker_in_the_middle_than_at_the_border():
    pixels = np.asarray(draw_lesion(seed=5, size_px=200), float)

    assert pixels.shape == (200, 200, 3)
    assert pixels[80:120, 80:120].mean() < pixels[:30].mean() - 30
