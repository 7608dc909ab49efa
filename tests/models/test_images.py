import io
import struct
import zlib
from datetime import datetime

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from models.images import (
    Photo,
    PhotoError,
    PhotoLimits,
    TooLargeError,
    TooManyPixelsError,
    UnreadableImageError,
    UnsupportedTypeError,
    bound_array,
    decode_bounded,
    decode_square,
    jpeg_decoding_cost,
)
from models.limits import PHOTO_FORMATS, PhotoFormat

RED, BLUE = (200, 30, 30), (30, 30, 200)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def split_picture(width: int = 400, height: int = 200) -> Image.Image:
    """Left half red, right half blue."""
    picture = Image.new("RGB", (width, height), RED)
    picture.paste(BLUE, (width // 2, 0, width, height))
    return picture


def mean_colour(photo: Photo, part: str) -> list[float]:
    height, width = photo.image_HWC.shape[:2]
    parts = {
        "left": photo.image_HWC[:, : width // 4],
        "right": photo.image_HWC[:, -width // 4 :],
        "top": photo.image_HWC[: height // 4],
        "bottom": photo.image_HWC[-height // 4 :],
    }
    return parts[part].reshape(-1, 3).mean(0).tolist()


@pytest.mark.parametrize("format", PHOTO_FORMATS, ids=lambda format: format.name)
def test_an_accepted_format_agrees_with_pillow(format: PhotoFormat):
    name = format.name.upper()

    assert decode_bounded(encoded(split_picture(), name)).width_px == 400
    assert format.mime_type == Image.MIME[name]
    assert {Image.registered_extensions()[suffix] for suffix in format.suffixes} == {name}


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_each_type_is_decoded_at_the_requested_size(format: str):
    photo = decode_square(encoded(split_picture(), format, quality=95), side_px=64)

    assert photo.image_HWC.shape == (64, 64, 3) and photo.image_HWC.dtype == np.uint8
    assert (photo.width_px, photo.height_px) == (400, 200)
    assert mean_colour(photo, "left") == pytest.approx(RED, abs=12)
    assert mean_colour(photo, "right") == pytest.approx(BLUE, abs=12)


def test_a_square_is_cropped_from_the_centre():
    picture = Image.new("RGB", (600, 200), "black")
    picture.paste("white", (200, 0, 400, 200))

    photo = decode_square(encoded(picture, "PNG"), side_px=50)

    assert photo.image_HWC[:, 2:-2].min() == 255  # the edge itself is blended


def test_a_bounded_photo_keeps_its_aspect_ratio_and_is_never_enlarged():
    large = decode_bounded(encoded(split_picture(4000, 2000), "JPEG"), max_side_px=640)
    small = decode_bounded(encoded(split_picture(40, 20), "JPEG"), max_side_px=640)

    assert large.image_HWC.shape == (320, 640, 3)
    assert small.image_HWC.shape == (20, 40, 3)


# Orientation: on which side of the upright photo the stored left half, red, ends up.
@pytest.mark.parametrize(
    ("orientation", "red_side"),
    [
        (1, "left"),
        (2, "right"),
        (3, "right"),
        (4, "left"),
        (5, "top"),
        (6, "top"),
        (7, "bottom"),
        (8, "bottom"),
    ],
)
def test_exif_orientation_is_applied(orientation: int, red_side: str):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(split_picture(), "JPEG", exif=exif, quality=95)

    square, bounded = decode_square(data, side_px=64), decode_bounded(data, max_side_px=100)

    for photo in (square, bounded):
        assert mean_colour(photo, red_side) == pytest.approx(RED, abs=12)
        assert (photo.width_px > photo.height_px) == (orientation < 5)


@pytest.mark.parametrize(("offset", "zone"), [(None, ""), ("+02:00", "+02:00"), ("   :  ", ""), ("x", "")])
def test_the_capture_time_is_read_from_exif(offset: str | None, zone: str):
    exif = Image.Exif()
    fields = exif.get_ifd(0x8769)
    fields[0x9003] = "2026:03:04 05:06:07"
    if offset:
        fields[0x9011] = offset

    photo = decode_bounded(encoded(split_picture(), "JPEG", exif=exif))

    assert photo.taken_at == datetime.fromisoformat(f"2026-03-04T05:06:07{zone}")


@pytest.mark.parametrize("written", ["0000:00:00 00:00:00", "yesterday", ""])
def test_a_damaged_capture_time_is_ignored(written: str):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = written

    assert decode_bounded(encoded(split_picture(), "JPEG", exif=exif)).taken_at is None


def test_cmyk_keeps_its_colours():
    photo = decode_square(encoded(split_picture().convert("CMYK"), "JPEG", quality=95), side_px=64)

    assert mean_colour(photo, "left") == pytest.approx(RED, abs=20)


def test_a_palette_keeps_its_colours():
    photo = decode_square(
        encoded(split_picture().convert("P", palette=Image.Palette.ADAPTIVE), "PNG"), side_px=64
    )

    assert mean_colour(photo, "right") == pytest.approx(BLUE, abs=12)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparent_pixels_become_white(mode: str):
    clear = Image.new("RGBA", (50, 50), (0, 0, 0, 0))
    data = encoded(clear.convert(mode), "PNG") if mode != "PA" else encoded(clear.quantize(), "PNG")

    assert decode_square(data, side_px=32).image_HWC.min() == 255


def test_16_bit_grey_becomes_8_bit():
    grey = Image.fromarray(np.full((40, 40), 128 * 256, np.uint16))

    photo = decode_square(encoded(grey, "PNG"), side_px=32)

    assert photo.image_HWC.min() == photo.image_HWC.max() == 128


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_an_animation_is_decoded_as_its_first_frame(format: str):
    frames = [Image.new("RGB", (50, 50), colour) for colour in (RED, BLUE)]
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:], lossless=True)

    assert mean_colour(decode_square(data, side_px=32), "left") == pytest.approx(RED, abs=12)


def test_an_empty_photo_is_rejected():
    with pytest.raises(UnreadableImageError, match="empty"):
        decode_square(b"", side_px=64)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"\n <HTML><body>", "web page"),
        (b"GIF89a" + bytes(50), "GIF"),
        (b"%PDF-1.7", "PDF"),
        (b"\0\0\0\x18ftypheic" + bytes(50), "Most Compatible"),
        (b"BM" + bytes(50), "not a JPEG, PNG or WebP"),
        (b"x", "not a JPEG, PNG or WebP"),
    ],
)
def test_another_type_is_rejected_by_its_content(data: bytes, what: str):
    with pytest.raises(UnsupportedTypeError, match=what):
        decode_square(data, side_px=64)


def png_of_header_alone(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 10) + b"IDAT" + bytes(14)


@pytest.mark.parametrize("size", [(10_000, 6_000), (2**31 - 1, 2**31 - 1), (50_000_001, 1)])
def test_a_huge_size_in_the_header_is_rejected_before_decoding(size: tuple[int, int]):
    with pytest.raises(TooManyPixelsError, match="at most 50"):
        decode_square(png_of_header_alone(*size), side_px=64)


def test_too_many_bytes_are_rejected():
    with pytest.raises(TooLargeError, match=r"20\.0 MB.*at most 20 MB"):
        decode_square(bytes(20_000_001), side_px=64)


def with_scans(jpeg: bytes, num_more: int) -> bytes:
    """Repeat the last scan of a JPEG."""
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:-2] + jpeg[last:-2] * num_more + jpeg[-2:]


PROGRESSIVE = encoded(split_picture(), "JPEG", progressive=True)


def test_the_decoding_cost_of_a_jpeg_is_its_pixels_times_its_scans():
    assert jpeg_decoding_cost(encoded(split_picture(), "JPEG")) == 400 * 200
    assert jpeg_decoding_cost(PROGRESSIVE) == 10 * 400 * 200
    assert jpeg_decoding_cost(with_scans(PROGRESSIVE, 50)) == 60 * 400 * 200
    assert jpeg_decoding_cost(PROGRESSIVE[:2]) == jpeg_decoding_cost(PROGRESSIVE[:-2][:20]) == 0


@pytest.mark.parametrize(
    "data",
    [
        with_scans(PROGRESSIVE, 400),
        with_scans(PROGRESSIVE, 100).replace(b"\xff\xda", b"\xff\xfe\0\4\xff\xd9\xff\xff\x01\xff\xda"),
        PROGRESSIVE[:2] + b"\xff\xfe\0\2" * 1001 + PROGRESSIVE[2:],
    ],
    ids=["scans", "scans behind what looks like an end", "segments"],
)
def test_a_jpeg_of_many_scans_is_rejected_before_decoding(data: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(Image, "open")

    with pytest.raises(UnreadableImageError, match="more than 100 scans or 1000 segments"):
        decode_square(data, side_px=64)


def test_scan_markers_in_metadata_or_after_the_end_are_not_counted():
    comment = b"\xff\xfe" + struct.pack(">H", 402) + b"\xff\xda" * 200
    data = PROGRESSIVE[:2] + comment + PROGRESSIVE[2:] + b"\xff\xda" * 200  # a motion photo ends so

    assert jpeg_decoding_cost(data) == jpeg_decoding_cost(PROGRESSIVE)
    assert decode_square(data, side_px=64).width_px == 400


@settings(deadline=None, max_examples=40)
@given(
    width=st.integers(1, 1200),
    height=st.integers(1, 1200),
    mode=st.sampled_from(["RGB", "L", "CMYK"]),
    quality=st.integers(1, 100),
    restart=st.sampled_from([0, 1, 7]),
    seed=st.integers(0, 99),
)
def test_every_ordinary_progressive_photo_is_decoded(
    width: int, height: int, mode: str, quality: int, restart: int, seed: int
):
    noise = np.random.default_rng(seed).integers(0, 256, (1 + height // 4, 1 + width // 4, 3), np.uint8)
    picture = Image.fromarray(noise).resize((width, height)).convert(mode)
    data = encoded(
        picture, "JPEG", progressive=True, quality=quality, restart_marker_rows=restart, subsampling=seed % 3
    )

    photo = decode_bounded(data, max_side_px=100)

    assert (photo.width_px, photo.height_px) == (width, height)
    assert 0 < jpeg_decoding_cost(data) <= 20 * width * height


def test_limits_of_zero_are_rejected():
    with pytest.raises(ValueError, match="must be positive"):
        PhotoLimits(max_bytes=0)


def test_decoded_pixels_are_bounded_too():
    image = np.asarray(split_picture(1000, 500))

    photo = bound_array(image, max_side_px=640)

    assert photo.image_HWC.shape == (320, 640, 3)
    assert (photo.width_px, photo.height_px) == (1000, 500)


WHOLE = {format: encoded(split_picture(120, 80), format) for format in ("JPEG", "PNG", "WEBP")}


@given(format=st.sampled_from(sorted(WHOLE)), data=st.data())
def test_a_truncated_photo_is_rejected(format: str, data: st.DataObject):
    length = data.draw(st.integers(0, len(WHOLE[format]) // 2))

    with pytest.raises((UnreadableImageError, UnsupportedTypeError)):
        decode_square(WHOLE[format][:length], side_px=32)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(format=st.sampled_from(sorted(WHOLE)), data=st.data())
def test_damaged_bytes_give_a_photo_or_a_photo_error(format: str, data: st.DataObject):
    damaged = bytearray(WHOLE[format])
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=20)):
        damaged[place] = data.draw(st.integers(0, 255))

    for decode in (lambda: decode_square(bytes(damaged), side_px=32), lambda: decode_bounded(bytes(damaged))):
        try:
            photo = decode()
        except PhotoError as error:
            assert str(error)
        else:
            assert photo.image_HWC.dtype == np.uint8 and photo.image_HWC.shape[2] == 3


@settings(deadline=None)
@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    mode=st.sampled_from(["RGB", "L", "P", "RGBA", "1", "LA"]),
)
def test_every_shape_and_mode_is_decoded(width: int, height: int, mode: str):
    data = encoded(Image.new("RGB", (width, height), RED).convert(mode), "PNG")

    square, bounded = decode_square(data, side_px=32), decode_bounded(data, max_side_px=20)

    assert square.image_HWC.shape == (32, 32, 3)
    assert max(bounded.image_HWC.shape[:2]) == min(20, max(width, height))
