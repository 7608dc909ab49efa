import numpy as np
import pytest

from train.data.labels.sentiment import label_of
from train.progress.series import Series, backwards, to_batch


def series_of(present: list[bool], improvement: list[float]) -> Series:
    photos_THWC = np.arange(len(present), dtype=np.uint8)[:, None, None, None] + np.zeros((8, 8, 3), np.uint8)
    return Series(
        photos_THWC=photos_THWC,
        present_T=np.array(present),
        improvement_T=np.array(improvement, np.float32),
        person="anna",
    )


def test_the_verdict_is_that_of_the_last_face():
    assert series_of([True, True, False], [0.5, 0.9, 0.9]).improved
    assert not series_of([True, True, True], [0.5, 0.9, 0.1]).improved


@pytest.mark.parametrize("improvement", [0.0, 0.49, 0.5, 1.0])
def test_the_verdict_is_the_label_of_the_manifest(improvement: float):
    series = series_of([True, True], [improvement] * 2)

    assert series.improved == (label_of(improvement) == "improved")


def test_backwards_inverts_order_and_verdict():
    series = series_of([True, True, False], [0.9, 0.9, 0.9])

    back = backwards(series)

    assert back.photos_THWC[:, 0, 0, 0].tolist() == [2, 1, 0]
    assert back.present_T.tolist() == [False, True, True]
    np.testing.assert_allclose(back.improvement_T, 0.1, rtol=1e-5)
    assert series.improved and not back.improved


def test_a_synthetic_series_cannot_be_reversed():
    with pytest.raises(ValueError, match="draw the reversed series instead"):
        backwards(series_of([True, True], [0.5, 1.0]))


def test_a_batch_pads_at_the_end():
    short, long = series_of([True, True], [0.5, 0.0]), series_of([True] * 4, [0.5, 0.6, 0.8, 1.0])

    batch = to_batch([short, long])

    assert batch["photos"].shape == (2, 4, 3, 8, 8)
    assert batch["present"].tolist() == [[True, True, False, False], [True] * 4]
    assert batch["present_index"].tolist() == [0, 1, 4, 5, 6, 7]
    assert batch["improvement"][0].tolist() == [0.5, 0.0, 0.0, 0.0]
