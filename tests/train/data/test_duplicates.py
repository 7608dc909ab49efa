from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from samples.lesion import draw_lesion
from tests.photo_copies import encoded
from train.data.duplicates import THUMBNAIL_PX, find_duplicates, thumbnail_of


def lesion(seed: int, size_px: int = 64) -> Image.Image:
    return draw_lesion(seed=seed, size_px=size_px)


def pairs_of(*images: Image.Image) -> list[tuple[int, int]]:
    return find_duplicates([thumbnail_of(np.asarray(image)) for image in images])


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    turn=st.sampled_from([None, *Image.Transpose]),
    quality=st.integers(30, 95),
    scale=st.floats(0.3, 2),
    crop=st.tuples(*[st.floats(0, 0.03)] * 4),
    brightness=st.floats(0.9, 1.1),
)
def test_a_changed_copy_is_found(
    seed: int,
    turn: Image.Transpose | None,
    quality: int,
    scale: float,
    crop: tuple[float, float, float, float],
    brightness: float,
):
    side_px = 224
    photo = lesion(seed, side_px)
    left, top, right, bottom = (round(side_px * share) for share in crop)
    copy = photo.crop((left, top, side_px - right, side_px - bottom))
    copy = ImageEnhance.Brightness(copy).enhance(brightness)
    copy = copy.resize((round(copy.width * scale), round(copy.height * scale)))
    copy = encoded(copy if turn is None else copy.transpose(turn), quality)

    assert pairs_of(lesion(seed + 1), photo, copy) == [(1, 2)]


def test_different_pictures_are_not_paired():
    assert pairs_of(*[lesion(seed) for seed in range(200)]) == []


def test_equal_photos_are_each_paired_with_the_first():
    photo = lesion(0)

    assert pairs_of(lesion(1), photo, photo, lesion(2), photo) == [(1, 2), (1, 4)]


def test_the_order_of_the_photos_does_not_matter():
    photos = [lesion(0), lesion(1), encoded(lesion(0), 40), lesion(2), encoded(lesion(2).rotate(90), 60)]
    order = [3, 0, 4, 2, 1]

    found = pairs_of(*[photos[place] for place in order])

    assert pairs_of(*photos) == [(0, 2), (3, 4)]
    assert sorted(tuple(sorted((order[i], order[j]))) for i, j in found) == [(0, 2), (3, 4)]


def test_blank_and_missing_pictures_are_not_paired():
    blank = [thumbnail_of(np.full((40, 30, 3), grey, np.uint8)) for grey in (0, 1, 128, 255)]

    assert find_duplicates([*blank, b"", b"", thumbnail_of(np.asarray(lesion(0)))]) == []
    assert find_duplicates([]) == find_duplicates([b""]) == []


def test_the_frame_of_the_lens_does_not_make_photos_duplicates():
    side_px = 64
    distance_HW = np.hypot(*(np.mgrid[:side_px, :side_px] - (side_px - 1) / 2))
    framed = [
        np.where((distance_HW < 33)[..., None], np.asarray(lesion(seed)), 3).astype(np.uint8)
        for seed in range(100)
    ]

    assert find_duplicates([thumbnail_of(image_HWC) for image_HWC in framed]) == []


def test_a_thumbnail_of_another_size_is_rejected():
    with pytest.raises(ValueError, match=r"has 100 bytes, needs 1024"):
        find_duplicates([bytes(100), bytes(THUMBNAIL_PX**2)])


def test_few_photos_of_ham10000_are_duplicates(pytestconfig: pytest.Config):
    folder: Path | None = pytestconfig.getoption("--ham10000")
    if folder is None:
        pytest.skip("needs --ham10000")
    paths = sorted(folder.rglob("*.jpg"))[:2000]

    pairs = find_duplicates([thumbnail_of(np.asarray(Image.open(path).convert("RGB"))) for path in paths])

    assert len(pairs) <= 2
