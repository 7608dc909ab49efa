import base64
import io
import struct

import numpy as np
import pytest
from PIL import Image

from ui.preview import Preview, make_preview


def photo(image: Image.Image, kind: str, **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


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


@pytest.mark.parametrize("data", [b"", b"<html>", photo(Image.new("RGB", (64, 64)), "PNG")[:60]])
def test_a_photo_that_pillow_cannot_decode_has_no_preview(data):
    assert make_preview(data, max_side_px=64) is None
