import csv
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from models.images import decode_bounded, decode_square
from models.limits import MIN_PHOTO_SIDE_PX
from models.photo_quality import find_problems
from samples.lesion import draw_lesion

SIDE_PX = 224
SKIN = (214, 170, 148)


def decoded(image: Image.Image, *, side_px: int = SIDE_PX):
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return decode_square(file.getvalue(), side_px=side_px)


def codes(image: Image.Image) -> list[str]:
    return [problem.code for problem in find_problems(decoded(image))]


def one_colour(colour: tuple[int, ...], size: tuple[int, int] = (300, 200)) -> Image.Image:
    return Image.new("RGB" if len(colour) == 3 else "RGBA", size, colour)


def noise(low: int, high: int) -> Image.Image:
    levels = np.random.default_rng(0).integers(low, high, (200, 300, 3), dtype=np.uint8)
    return Image.fromarray(levels)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (one_colour(SKIN, (1, 1)), ["too_small"]),
        (draw_lesion(seed=0, size_px=100).resize((3, 3)), ["too_small"]),
        (draw_lesion(seed=0, size_px=100).resize((8000, 10)), ["too_small"]),
        (one_colour((0, 0, 0), (1, 1)), ["too_small", "too_dark"]),
        (one_colour((0, 0, 0)), ["too_dark"]),
        (noise(0, 25), ["too_dark"]),
        (one_colour((255, 255, 255)), ["overexposed"]),
        (noise(251, 256), ["overexposed"]),
        (one_colour((40, 30, 20, 0)), ["overexposed"]),  # transparent: on white
        (one_colour(SKIN), ["no_lesion"]),
        (noise(118, 127), ["no_lesion"]),
    ],
    ids=lambda value: " and ".join(value) if isinstance(value, list) else "",
)
def test_a_photo_too_poor_to_classify_has_a_problem(image: Image.Image, expected: list[str]):
    assert codes(image) == expected


@pytest.mark.parametrize("seed", range(30))
def test_a_drawn_lesion_has_none_in_any_size_light_or_input_size(seed: int):
    rng = np.random.default_rng(seed)
    size_px = int(rng.integers(MIN_PHOTO_SIDE_PX, 150))
    lesion = ImageEnhance.Brightness(draw_lesion(seed=seed, size_px=size_px)).enhance(rng.uniform(0.3, 1.3))

    assert find_problems(decoded(lesion, side_px=int(rng.choice([160, 192, 224])))) == []


@pytest.mark.parametrize(
    ("side_px", "expected"), [(MIN_PHOTO_SIDE_PX, []), (MIN_PHOTO_SIDE_PX - 1, ["too_small"])]
)
def test_the_shorter_side_decides_the_size(side_px: int, expected: list[str]):
    assert codes(draw_lesion(seed=1, size_px=100).resize((side_px, 200))) == expected
    assert codes(draw_lesion(seed=1, size_px=100).resize((200, side_px))) == expected


def test_a_lesion_in_a_black_frame_or_beside_white_has_none():
    black, white = one_colour((0, 0, 0), (300, 300)), one_colour((255, 255, 255), (300, 300))
    for canvas in (black, white):
        canvas.paste(draw_lesion(seed=2, size_px=100), (100, 100))

    assert codes(black) == codes(white) == []


@pytest.mark.parametrize(
    ("image", "found", "needed", "advice"),
    [
        (one_colour(SKIN, (8000, 10)), "8000 x 10 pixels", "at least", "send the original"),
        (one_colour((9, 9, 9)), "at most 9 of 255", "at least 25", "in daylight"),
        (one_colour((255, 255, 255)), "100% of the photo is white", "at most 95%", "less light"),
        (one_colour(SKIN), "one even colour", "the lesion in the middle", "take it again"),
    ],
)
def test_a_message_says_what_was_found_what_is_needed_and_what_to_do(
    image: Image.Image, found: str, needed: str, advice: str
):
    (problem,) = find_problems(decoded(image))

    assert found in problem.message and needed in problem.message and advice in problem.message


def test_a_photo_takes_under_a_millisecond():
    photo = decoded(draw_lesion(seed=0, size_px=SIDE_PX))

    assert min(_seconds(lambda: find_problems(photo)) for _ in range(30)) < 0.001


def test_a_whole_photo_of_one_pixel_is_examined():
    file = io.BytesIO()
    one_colour(SKIN, (1, 1)).save(file, "PNG")

    assert [problem.code for problem in find_problems(decode_bounded(file.getvalue()))] == ["too_small"]


def test_no_real_photo_is_rejected_and_hardly_any_in_dim_light(request: pytest.FixtureRequest):
    folder: Path | None = request.config.getoption("--lesions")
    if folder is None:
        pytest.skip("needs --lesions")
    with (folder / "lesions.csv").open() as table:
        names = [row["image"] for row in csv.DictReader(table)][::50]

    rejected = dim_rejected = 0
    for name in names:
        with Image.open(folder / name) as image:
            rejected += bool(codes(image))
            dim_rejected += bool(codes(ImageEnhance.Brightness(image.convert("RGB")).enhance(0.3)))

    assert len(names) > 200 and rejected == 0
    assert dim_rejected / len(names) <= 0.05


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
