import threading

import numpy as np
import pytest
from PIL import Image, ImageCms

from models.image_files import color
from models.image_files.color import MAX_CACHED_TRANSFORMS, to_srgb
from models.images import decode_bounded
from tests.photo_files import (
    ADOBE_RGB,
    DISPLAY_P3,
    SWAPPED,
    cmyk_profile,
    encoded,
    gradient,
    grey_profile,
    in_profile,
    rgb_profile,
)

SRGB = ImageCms.ImageCmsProfile(color._SRGB).tobytes()


def difference(image: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(image, float) - np.asarray(other, float)).max())


@pytest.mark.parametrize("primaries", [DISPLAY_P3, ADOBE_RGB, SWAPPED], ids=["P3", "Adobe RGB", "swapped"])
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "JPEG", "HEIC", "AVIF"])
def test_a_picture_is_the_same_in_every_colour_space(primaries: tuple[tuple[float, ...], ...], format: str):
    profile = rgb_profile(primaries)
    lossless = {
        "WEBP": {"lossless": True},
        "JPEG": {"quality": 98, "subsampling": 0},
        "HEIC": {"quality": 95},
    }
    stored = in_profile(gradient(), profile)
    stored.info["icc_profile"] = profile

    photo = decode_bounded(encoded(stored, format, icc_profile=profile, **lossless.get(format, {})))

    # lossy formats, and colours at the edge of a colour space
    error = np.abs(photo.image_HWC.astype(int) - np.asarray(gradient()))
    assert error.mean() < (1 if format in ("PNG", "TIFF", "WEBP") else 4)


def test_a_grey_profile_applies_its_curve():
    grey = Image.new("L", (50, 50), 100)

    brighter = to_srgb(grey, grey_profile(1.0))

    assert brighter.getpixel((9, 9)) == pytest.approx((168, 168, 168), abs=3)  # 100 of linear light
    assert to_srgb(grey, None).getpixel((9, 9)) == (100, 100, 100)


def test_an_rgb_profile_applies_to_grey_pixels():
    photo = to_srgb(Image.new("L", (50, 50), 100), rgb_profile(SWAPPED, gamma=1.0))

    assert photo.getpixel((9, 9)) == pytest.approx((168, 168, 168), abs=3)


def test_a_cmyk_profile_is_applied():
    cyan = Image.new("CMYK", (50, 50), (255, 0, 0, 0))

    red, green, blue = to_srgb(cyan, cmyk_profile()).getpixel((9, 9))  # pyright: ignore

    assert red > 200 > 100 > max(green, blue)
    photo = decode_bounded(encoded(cyan, "JPEG", icc_profile=cmyk_profile(), quality=95))
    assert photo.image_HWC[25, 25] == pytest.approx((red, green, blue), abs=6)


def test_lab_becomes_rgb():
    lab = Image.new("LAB", (50, 50), (255, 128, 128))

    assert to_srgb(lab, None).getpixel((9, 9)) == pytest.approx((255, 255, 255), abs=2)


@pytest.mark.parametrize(
    "profile",
    [
        b"",
        b"damaged",
        rgb_profile(DISPLAY_P3)[:300],
        rgb_profile(DISPLAY_P3).ljust(4_000_001, b"\0"),
        grey_profile(1.0),
        cmyk_profile(),
    ],
    ids=["empty", "damaged", "truncated", "huge", "grey", "cmyk"],
)
def test_an_unusable_profile_is_ignored(profile: bytes):
    assert difference(to_srgb(gradient(), profile), gradient()) == 0


def test_srgb_is_recognised_by_its_effect(monkeypatch: pytest.MonkeyPatch):
    to_srgb(gradient(), SRGB)
    monkeypatch.delattr(color, "_applied")

    assert to_srgb(gradient(), SRGB).tobytes() == gradient().tobytes()


def test_transparent_pixels_become_white_under_a_profile():
    clear = Image.new("RGBA", (20, 20), (255, 0, 0, 0))

    assert to_srgb(clear, rgb_profile(SWAPPED)).getpixel((5, 5)) == (255, 255, 255)


def test_a_bounded_number_of_transforms_is_kept():
    for step in range(MAX_CACHED_TRANSFORMS + 4):
        to_srgb(Image.new("RGB", (2, 2)), rgb_profile(DISPLAY_P3, gamma=1.5 + step / 100))

    assert len(color._cached) == MAX_CACHED_TRANSFORMS


def test_threads_share_a_transform():
    profile, expected = rgb_profile(SWAPPED), to_srgb(gradient(), rgb_profile(SWAPPED)).tobytes()
    wrong: list[int] = []

    def convert() -> None:
        for _ in range(20):
            if to_srgb(gradient(), profile).tobytes() != expected:
                wrong.append(1)

    threads = [threading.Thread(target=convert) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not wrong
