import numpy as np
import pytest
from PIL import Image

from samples.lesion import draw_lesion
from train.lesion.degradations import DEGRADATIONS, JUDGEABLE


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return draw_lesion(seed=1, size_px=224)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_a_degraded_photo_has_the_same_size_and_other_pixels(photo: Image.Image, name: str) -> None:
    changed = DEGRADATIONS[name](photo)

    assert (changed.size, changed.mode) == (photo.size, "RGB")
    assert np.abs(np.asarray(changed).astype(int) - np.asarray(photo)).mean() > 1


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_degrading_a_photo_twice_gives_the_same_pixels(photo: Image.Image, name: str) -> None:
    assert DEGRADATIONS[name](photo).tobytes() == DEGRADATIONS[name](photo).tobytes()


def test_the_lesion_is_smaller_from_farther_away(photo: Image.Image) -> None:
    def dark_share(image: Image.Image) -> float:
        return float((np.asarray(image.convert("L")) < 130).mean())

    half, quarter = (
        dark_share(DEGRADATIONS[name](photo)) for name in ("half the frame", "a quarter of the frame")
    )

    assert half == pytest.approx(dark_share(photo) / 4, rel=0.3)
    assert quarter == pytest.approx(dark_share(photo) / 16, rel=0.5)


def test_the_judgeable_degradations_exist() -> None:
    assert set(JUDGEABLE) < set(DEGRADATIONS)
