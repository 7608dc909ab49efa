import hashlib
import io
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from models import images
from models.checkpoint import LOCALIZER
from models.images import PhotoError, PhotoLimits, TooManyPixelsError, decode_reduced, decode_square
from models.lesion.localizer import Box, Localizer, crop_square
from models.lesion.preparation import BoxError, prepare_lesion, prepare_lesion_pixels
from samples.lesion import draw_lesion
from tests.models.lesion.drawn_photos import LESION, draw_spots, draw_stripes, encoded
from tests.random_checkpoints import drawn_localizer, random_gate

SIDE = 64
FORMATS = ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"]


@pytest.fixture(scope="module")
def localizer(tmp_path_factory: pytest.TempPathFactory) -> Localizer:
    folder = tmp_path_factory.mktemp("localizer")
    (folder / LOCALIZER).write_bytes(drawn_localizer())
    digest = hashlib.sha256(drawn_localizer()).hexdigest()
    return Localizer(folder, random_gate(localizer_sha256=digest))


def resized(photo: Image.Image, box: Box, side_px: int = SIDE) -> np.ndarray:
    """The crop as training and evaluation read it."""
    size = (side_px, side_px)
    return np.asarray(photo.resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=3.0))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("size", [(300, 200), (65, 400), (640, 480)])
def test_without_a_localizer_the_crop_is_that_of_decode_square(format: str, size: tuple[int, int]):
    data = encoded(draw_lesion(seed=1).resize(size), format)

    prepared = prepare_lesion(data, localizer=None, side_px=SIDE)

    square = decode_square(data, side_px=SIDE)
    np.testing.assert_array_equal(prepared.image_HWC, square.image_HWC)
    assert (prepared.width_px, prepared.height_px) == size
    assert prepared.crop_box == crop_square(None, *size)
    assert prepared.lesion_box is None and prepared.localization is None and prepared.problems == []


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("size", [(100, 120), (90, 64), (127, 127)])
def test_the_crop_of_a_photo_that_is_not_reduced_is_bit_identical_to_pillow(
    localizer: Localizer, format: str, size: tuple[int, int]
):
    data = encoded(
        draw_spots(size, [Box(0.3, 0.55, 0.5, 0.7)]), format, **({"quality": 95} if format != "BMP" else {})
    )
    with Image.open(io.BytesIO(data)) as file:
        photo = file.convert("RGB")

    prepared = prepare_lesion(data, localizer=localizer, side_px=SIDE)

    assert prepared.localization == localizer(np.asarray(photo))
    assert prepared.localization is not None and prepared.localization.box is not None
    assert prepared.crop_box == crop_square(prepared.localization.box, *size)
    np.testing.assert_array_equal(prepared.image_HWC, resized(photo, prepared.crop_box))


def test_without_a_lesion_the_crop_is_the_central_square(localizer: Localizer):
    data = encoded(draw_spots((640, 300), []))

    prepared = prepare_lesion(data, localizer=localizer, side_px=SIDE)

    assert prepared.lesion_box is None
    assert prepared.crop_box == (170, 0, 470, 300)
    assert prepared.image_HWC.shape == (SIDE, SIDE, 3)


def test_boxes_are_in_pixels_of_the_original(localizer: Localizer):
    drawn = Box(0.5, 0.25, 0.75, 0.5)
    data = encoded(draw_spots((3000, 2000), [drawn]))

    prepared = prepare_lesion(data, localizer=localizer, side_px=SIDE)

    assert (prepared.width_px, prepared.height_px) == (3000, 2000)
    assert prepared.lesion_box == pytest.approx(drawn.scaled(3000, 2000), abs=50)
    left, top, right, bottom = prepared.crop_box
    assert prepared.lesion_box is not None
    assert right - left == pytest.approx(2.4 * prepared.lesion_box.longer_side)
    assert 0 <= left and right <= 3000 and 0 <= top and bottom <= 2000


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(2400, 1600), (160, 100)])
def test_exif_orientation_turns_photo_box_and_crop(
    localizer: Localizer, orientation: int, size: tuple[int, int]
):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = draw_spots(size, [Box(0.1, 0.2, 0.3, 0.4)])
    data = encoded(stored, "PNG", exif=exif)
    with Image.open(io.BytesIO(data)) as file:
        upright = ImageOps.exif_transpose(file)

    prepared = prepare_lesion(data, localizer=localizer, side_px=SIDE)

    assert (prepared.width_px, prepared.height_px) == upright.size
    assert prepared.localization == localizer(np.asarray(upright))
    np.testing.assert_array_equal(prepared.image_HWC, resized(upright, prepared.crop_box))
    plain = prepare_lesion(encoded(upright, "PNG"), localizer=localizer, side_px=SIDE)
    assert plain.crop_box == prepared.crop_box and plain.lesion_box == prepared.lesion_box


def test_a_large_lesion_needs_one_decode_and_a_small_one_a_second_larger_one(localizer: Localizer):
    for share, expected in ((0.4, [SIDE]), (0.05, [SIDE, 533])):
        data = encoded(draw_spots((1600, 1600), [Box(0.4, 0.4, 0.4 + share, 0.4 + share)]), quality=95)
        with mock.patch("models.lesion.preparation.decode_reduced", wraps=decode_reduced) as decode:
            prepared = prepare_lesion(data, localizer=localizer, side_px=SIDE)
        needed = [call.kwargs["needed_px"] for call in decode.call_args_list]
        assert needed == pytest.approx(expected, rel=0.15)
        assert len(needed) == 1 or needed[1] * prepared.crop_box.longer_side / 1600 >= SIDE - 1


def test_the_second_decode_is_the_smallest_that_has_the_pixels_of_the_crop(localizer: Localizer):
    data = encoded(draw_spots((4000, 3000), [Box(0.5, 0.5, 0.53, 0.54)]), quality=95)
    sizes: list[tuple[int, int]] = []

    def record(*arguments: object, **options: object) -> images.ReducedPhoto:
        reduced = decode_reduced(*arguments, **options)  # pyright: ignore[reportArgumentType]
        sizes.append(reduced.image.size)
        return reduced

    with mock.patch("models.lesion.preparation.decode_reduced", record):
        prepared = prepare_lesion(data, localizer=localizer, side_px=SIDE)

    assert sizes == [(500, 375), (1000, 750)]
    assert prepared.crop_box.longer_side == pytest.approx(0.12 * 3000, rel=0.1)


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_the_second_decode_gives_a_sharper_crop(localizer: Localizer, format: str):
    box = Box(0.4, 0.4, 0.45, 0.45)
    photo = draw_stripes((2400, 2400), box, period_px=12)
    data = encoded(photo, format, **({"quality": 95} if format == "JPEG" else {}))

    prepared = prepare_lesion(data, localizer=localizer, side_px=SIDE)
    once = decode_reduced(data, needed_px=SIDE).square(prepared.crop_box, SIDE).image_HWC

    exact = resized(photo, prepared.crop_box).astype(float)
    error, error_once = (np.abs(one - exact).mean() for one in (prepared.image_HWC, once))
    assert error < 0.5 * error_once
    contrast, contrast_once = (
        np.abs(np.diff(one.astype(int), axis=1)).mean() for one in (prepared.image_HWC, once)
    )
    assert contrast > 1.3 * contrast_once


def test_a_small_photo_is_enlarged_and_not_decoded_again(localizer: Localizer):
    data = encoded(draw_spots((70, 70), [Box(0.4, 0.4, 0.5, 0.5)]))

    with mock.patch("models.lesion.preparation.decode_reduced", wraps=decode_reduced) as decode:
        prepared = prepare_lesion(data, localizer=localizer, side_px=SIDE)

    assert decode.call_count == 1 and prepared.crop_box.longer_side < SIDE
    assert prepared.image_HWC.shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize("format", ["TIFF", "BMP", "GIF"])
def test_a_helper_process_sends_a_reduced_photo_only(format: str):
    data = encoded(draw_spots((2000, 1500), [Box(0.4, 0.4, 0.6, 0.6)]), format)

    reduced = decode_reduced(data, needed_px=SIDE)

    assert 3 * SIDE <= min(reduced.image.size) < 6 * SIDE
    assert type(reduced.image) is Image.Image, "no open file"
    assert reduced.is_reduced and (reduced.width_px, reduced.height_px) == (2000, 1500)


def test_colour_profiles_are_applied_to_localizer_input_and_crop(localizer: Localizer):
    photo = draw_spots((400, 300), [Box(0.4, 0.4, 0.6, 0.6)])
    swapped = swapped_profile()
    data = encoded(photo, "PNG", icc_profile=swapped)

    prepared = prepare_lesion(data, localizer=localizer, side_px=SIDE)

    plain = prepare_lesion(encoded(photo, "PNG"), localizer=localizer, side_px=SIDE)
    assert prepared.localization is not None and plain.localization is not None
    assert plain.localization.skin > 0.9 and prepared.localization.skin < 0.1, "blue now, by its profile"
    corner = prepared.image_HWC[0, 0].astype(int)
    assert corner[2] > corner[0] + 30


def swapped_profile() -> bytes:
    """A profile of sRGB whose red and blue primaries are exchanged."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"tXYZ").replace(b"bXYZ", b"rXYZ").replace(b"tXYZ", b"bXYZ")


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P", "LA"])
def test_photos_of_every_mode_are_prepared(localizer: Localizer, mode: str):
    photo = draw_spots((300, 240), [Box(0.4, 0.4, 0.6, 0.6)]).convert(mode)

    prepared = prepare_lesion(
        encoded(photo, "TIFF" if mode == "CMYK" else "PNG"), localizer=localizer, side_px=SIDE
    )

    assert prepared.lesion_box == pytest.approx(Box(120, 96, 180, 144), abs=6)
    assert prepared.image_HWC[SIDE // 2, SIDE // 2] == pytest.approx(np.array(LESION), abs=45)


def test_a_given_box_replaces_that_of_the_localizer(localizer: Localizer):
    data = encoded(draw_spots((600, 400), [Box(0.1, 0.1, 0.4, 0.4)]))
    box = Box(400, 250, 500, 300)

    for one in (localizer, None):
        prepared = prepare_lesion(data, localizer=one, side_px=SIDE, box=box)

        assert prepared.lesion_box == pytest.approx(box) and prepared.is_box_given
        assert prepared.crop_box == pytest.approx((330, 155, 570, 395))
        assert (prepared.localization is None) == (one is None)


def test_a_given_box_is_in_pixels_of_the_upright_photo():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(draw_spots((600, 400), []), exif=exif)

    assert prepare_lesion(data, localizer=None, side_px=SIDE, box=Box(300, 500, 400, 600)).width_px == 400
    with pytest.raises(
        BoxError, match="does not fit the photo of 400 x 600 pixels; send left,top,right,bottom"
    ):
        prepare_lesion(data, localizer=None, side_px=SIDE, box=Box(500, 300, 600, 400))


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 301, 200),
        (0, 0, 300, 200.5),
        (-1, 0, 10, 10),
        (0, -0.1, 10, 10),
        (10, 0, 10, 10),
        (10, 0, 10.9, 10),
        (0, 0, 10, 0.000001),
        (20, 0, 10, 10),
        (0, 10, 10, 5),
        (float("nan"), 0, 10, 10),
        (0, 0, float("inf"), 10),
    ],
)
def test_an_empty_box_or_one_outside_the_photo_is_rejected(box: tuple[float, ...]):
    with pytest.raises(PhotoError, match=r"the box .* does not fit the photo of 300 x 200 pixels") as error:
        prepare_lesion(encoded(draw_spots((300, 200), [])), localizer=None, side_px=SIDE, box=Box(*box))
    assert error.value.code == "invalid_request"


def test_limits_and_damage_are_those_of_every_photo(localizer: Localizer):
    data = encoded(draw_spots((300, 200), []))

    with pytest.raises(TooManyPixelsError, match="300 x 200"):
        prepare_lesion(data, localizer=localizer, side_px=SIDE, limits=PhotoLimits(max_pixels=50_000))
    with pytest.raises(PhotoError, match=r"at most 0.0001 MB"):
        prepare_lesion(data, localizer=localizer, side_px=SIDE, limits=PhotoLimits(max_bytes=100))
    with pytest.raises(PhotoError):
        prepare_lesion(data[: len(data) // 2], localizer=localizer, side_px=SIDE)
    with pytest.raises(PhotoError):
        prepare_lesion(b"no photo", localizer=localizer, side_px=SIDE)


@pytest.mark.parametrize("size", [(300, 200), (90, 64), (200, 640)])
@pytest.mark.parametrize("localized", [True, False])
def test_pixels_are_prepared_as_the_same_lossless_file(
    localizer: Localizer, size: tuple[int, int], localized: bool
):
    photo = draw_spots(size, [Box(0.3, 0.55, 0.5, 0.7)])
    one = localizer if localized else None

    of_pixels = prepare_lesion_pixels(np.asarray(photo), localizer=one, side_px=SIDE)

    of_file = prepare_lesion(encoded(photo, "PNG"), localizer=one, side_px=SIDE)
    np.testing.assert_array_equal(of_pixels.image_HWC, of_file.image_HWC)
    assert of_pixels.localization == of_file.localization
    assert (of_pixels.crop_box, of_pixels.lesion_box) == (of_file.crop_box, of_file.lesion_box)
    assert (of_pixels.width_px, of_pixels.height_px, of_pixels.problems) == (*size, of_file.problems)


def test_too_many_pixels_and_none_are_rejected():
    limits = PhotoLimits(max_pixels=50_000)

    with pytest.raises(TooManyPixelsError, match=r"300 x 200 = 0.1 megapixels, at most 0.05"):
        prepare_lesion_pixels(np.zeros((200, 300, 3), np.uint8), localizer=None, side_px=SIDE, limits=limits)
    with pytest.raises(PhotoError, match="0 x 200 pixels"):
        prepare_lesion_pixels(np.zeros((200, 0, 3), np.uint8), localizer=None, side_px=SIDE)


def test_black_photos_keep_their_problem(localizer: Localizer):
    prepared = prepare_lesion(encoded(Image.new("RGB", (300, 200))), localizer=localizer, side_px=SIDE)

    assert [problem.code for problem in prepared.problems] == ["too_dark"]


@settings(max_examples=40)
@given(
    st.tuples(st.integers(1, 700), st.integers(1, 700)),
    st.tuples(*[st.floats(0, 0.9)] * 2),
    st.floats(0.01, 1),
    st.integers(1, 8),
)
def test_every_photo_gives_a_crop_inside_it(
    localizer: Localizer, size: tuple[int, int], corner: tuple[float, float], share: float, orientation: int
):
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = draw_spots(size, [])
    left, top = (int(edge * length) for edge, length in zip(corner, size, strict=True))
    width, height = (max(1, int(share * length)) for length in size)
    photo.paste(LESION, (left, top, left + width, top + height))

    prepared = prepare_lesion(encoded(photo, exif=exif), localizer=localizer, side_px=SIDE)

    crop = prepared.crop_box
    assert prepared.image_HWC.shape == (SIDE, SIDE, 3) and prepared.image_HWC.dtype == np.uint8
    assert crop.left >= 0 and crop.right <= prepared.width_px + 1e-6
    assert crop.top >= 0 and crop.bottom <= prepared.height_px + 1e-6
    assert crop.right - crop.left == pytest.approx(crop.bottom - crop.top)
    assert 0 <= prepared.sharpness <= 1


def test_the_gateway_needs_no_torch():
    code = "import sys, models.lesion.preparation; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
