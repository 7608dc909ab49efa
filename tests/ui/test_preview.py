import base64
import io
import shutil
import struct

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms, ImageFile, PngImagePlugin

import ui.preview
from models.images import decode_bounded
from serve.schemas import PHOTO_FORMATS
from ui.preview import Preview, make_preview

pillow_heif.register_heif_opener()  # it writes HEIC; the page only reads it


def photo(image: Image.Image, kind: str, **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def swapped_profile() -> bytes:
    """Return the profile of sRGB with red and blue exchanged."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"????", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"????", b"bXYZ", 1)


def pixels_of(preview: Preview | None) -> Image.Image:
    assert preview is not None
    return Image.open(io.BytesIO(base64.b64decode(preview.data_uri.partition(",")[2])))


def test_a_preview_is_small_and_has_the_size_of_the_photo():
    preview = make_preview(photo(Image.new("RGB", (3000, 2000), "red"), "JPEG"), max_side_px=300)

    assert preview is not None
    assert (preview.width_px, preview.height_px) == (3000, 2000)
    assert pixels_of(preview).size == (300, 200)


def test_a_preview_is_upright_and_so_is_its_size():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees clockwise to show
    lying = Image.new("RGB", (200, 100), "white")
    lying.paste("black", (0, 0, 100, 100))

    preview = make_preview(photo(lying, "JPEG", exif=exif), max_side_px=300)

    assert preview is not None
    assert (preview.width_px, preview.height_px) == (100, 200)
    assert np.asarray(pixels_of(preview).convert("L"))[:90].mean() < 20


def test_a_preview_has_no_exif_data():
    exif = Image.Exif()
    exif[0x010F] = "camera of Anna"

    preview = make_preview(photo(Image.new("RGB", (64, 64)), "JPEG", exif=exif), max_side_px=64)

    assert not pixels_of(preview).getexif()


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (Image.new("RGBA", (64, 64), (0, 0, 0, 0)), "PNG"),
        (Image.new("CMYK", (64, 64), (0, 0, 0, 0)), "JPEG"),
        (Image.new("L", (64, 64), 255), "WEBP"),
        (Image.new("RGB", (64, 64), "white").quantize(), "PNG"),
        (Image.fromarray(np.full((64, 64), 65535, np.uint16)), "PNG"),
    ],
)
def test_every_kind_of_white_photo_looks_white(image, kind):
    preview = make_preview(photo(image, kind), max_side_px=64)

    assert np.asarray(pixels_of(preview)).min() >= 250


@pytest.mark.parametrize("kind", ["HEIF", "AVIF", "BMP", "TIFF", "GIF", "JPEG2000"])
def test_formats_that_browsers_may_not_show_have_a_preview(kind):
    picture = Image.new("RGB", (640, 480), "tan")

    preview = make_preview(photo(picture, kind), max_side_px=100)

    assert preview is not None and (preview.width_px, preview.height_px) == (640, 480)
    assert max(pixels_of(preview).size) == 100
    assert np.abs(np.asarray(pixels_of(preview), int) - (210, 180, 140)).max() <= 8


def test_every_format_of_the_api_is_tested_here():
    tested = {"JPEG", "PNG", "WebP", "HEIC", "AVIF", "BMP", "TIFF", "GIF", "JPEG 2000"}

    assert {format.name for format in PHOTO_FORMATS} == tested


def test_a_photo_over_the_limit_of_its_format_is_not_decoded(monkeypatch):
    tight = [format._replace(max_pixels=64 * 64 - 1) for format in PHOTO_FORMATS]
    monkeypatch.setattr(ui.preview, "PHOTO_FORMATS", tight)

    assert make_preview(photo(Image.new("RGB", (64, 64)), "PNG"), max_side_px=64) is None


def test_a_damaged_file_and_a_crash_in_a_c_library_do_not_end_the_page(monkeypatch):
    cut = photo(Image.new("RGB", (64, 64)), "HEIF")[:200]
    assert make_preview(cut, max_side_px=64) is None

    monkeypatch.setattr(ui.preview.sys, "executable", shutil.which("false"))
    assert make_preview(photo(Image.new("RGB", (64, 64)), "TIFF"), max_side_px=64) is None


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "HEIF"])
def test_colours_are_converted_to_srgb(kind):
    blue = Image.new("RGB", (64, 64), (200, 30, 20))

    preview = make_preview(photo(blue, kind, icc_profile=swapped_profile()), max_side_px=64)

    assert np.abs(np.asarray(pixels_of(preview), int) - (20, 30, 200)).max() <= 8


@pytest.mark.parametrize(
    "profile", [b"damaged", ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()]
)
def test_a_profile_that_does_not_fit_is_ignored(profile):
    preview = make_preview(
        photo(Image.new("RGB", (64, 64), "tan"), "PNG", icc_profile=profile), max_side_px=64
    )

    assert np.abs(np.asarray(pixels_of(preview), int) - (210, 180, 140)).max() <= 8


@pytest.mark.parametrize("kind", ["JPEG", "HEIF", "AVIF", "TIFF", "PNG"])
def test_a_preview_shows_what_the_network_receives(kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.linear_gradient("L").resize((120, 80)).convert("RGB")
    data = photo(picture, kind, exif=exif, icc_profile=swapped_profile())

    preview = make_preview(data, max_side_px=640)
    received = decode_bounded(data, max_side_px=640)

    assert preview is not None
    assert (preview.width_px, preview.height_px) == (received.width_px, received.height_px)
    assert np.abs(np.asarray(pixels_of(preview), int) - received.image_HWC).mean() <= 4


def test_large_metadata_of_a_png_is_no_error():
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * 1_100_000, zip=True)

    assert make_preview(photo(Image.new("RGB", (64, 64)), "PNG", pnginfo=text), max_side_px=64) is not None


def test_lost_last_bytes_are_no_error_and_other_code_still_rejects_them():
    cut = photo(Image.effect_noise((640, 480), 90), "JPEG")[:-200]

    assert make_preview(cut, max_side_px=64) is not None
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize(
    "resolution",
    [
        (2, 2, b"6\0\0\0"),  # text: Pillow raises a TypeError
        (9, 1, struct.pack("<i", -3)),  # a negative number: struct.error
    ],
    ids=["text", "negative"],
)
def test_damaged_exif_data_is_not_an_error(resolution):
    turned, next_folder = struct.pack("<HHII", 0x0112, 3, 1, 6), bytes(4)
    kind, count, value = resolution
    broken = struct.pack("<HHI", 0x011A, kind, count) + value
    tiff = b"II*\0" + struct.pack("<IH", 8, 2) + turned + broken + next_folder
    data = photo(Image.new("RGB", (64, 64)), "JPEG", exif=b"Exif\0\0" + tiff)

    assert make_preview(data, max_side_px=64) is None


@pytest.mark.parametrize("data", [b"", b"<html>", photo(Image.new("RGB", (64, 64)), "PNG")[:20]])
def test_a_photo_that_pillow_cannot_decode_has_no_preview(data):
    assert make_preview(data, max_side_px=64) is None
