import struct
import tracemalloc
import zlib
from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from models.images import (
    PhotoError,
    PhotoLimits,
    TooLargeError,
    TooManyPixelsError,
    UnreadableImageError,
    UnsupportedTypeError,
    bound_array,
    decode_bounded,
    decode_square,
)
from models.limits import PHOTO_FORMATS, PhotoFormat
from tests.photo_files import BLUE, RED, encoded, mean_colour, photo_file, split_picture


@pytest.mark.parametrize("format", PHOTO_FORMATS, ids=lambda format: format.name)
def test_an_accepted_format_agrees_with_pillow(format: PhotoFormat):
    assert format.pillow_name == "HEIC" or format.mime_type == Image.MIME[format.pillow_name]
    known = {Image.registered_extensions().get(suffix, "HEIF") for suffix in format.suffixes}
    assert known <= {format.pillow_name.replace("HEIC", "HEIF"), "MPO", "DIB"}


@pytest.mark.parametrize("format", PHOTO_FORMATS, ids=lambda format: format.name)
def test_each_type_is_decoded_at_the_requested_size(format: PhotoFormat):
    data = photo_file(split_picture(), format, quality=95)

    photo, bounded = decode_square(data, side_px=64), decode_bounded(data, max_side_px=100)

    assert photo.image_HWC.shape == (64, 64, 3) and photo.image_HWC.dtype == np.uint8
    assert bounded.image_HWC.shape == (50, 100, 3)
    assert (photo.width_px, photo.height_px) == (bounded.width_px, bounded.height_px) == (400, 200)
    assert mean_colour(photo, "left") == pytest.approx(RED, abs=12)
    assert mean_colour(bounded, "right") == pytest.approx(BLUE, abs=12)


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
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIC"])
def test_exif_orientation_is_applied_once(format: str, orientation: int, red_side: str):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = split_picture()
    if format == "HEIC":  # the encoder turns pixels and writes their transformation
        picture.info["exif"] = exif.tobytes()
    data = encoded(picture, format, exif=exif, quality=95)

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


@pytest.mark.parametrize("format", ["PNG", "WEBP", "GIF", "TIFF", "AVIF", "MPO"])
def test_the_first_of_several_frames_or_pages_is_decoded(format: str):
    frames = [Image.new("RGB", (50, 50), colour) for colour in (RED, BLUE)]
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:], lossless=True)

    assert mean_colour(decode_square(data, side_px=32), "left") == pytest.approx(RED, abs=12)


@pytest.mark.parametrize("data", [b"", b"<html>"])
def test_what_is_no_photo_is_rejected(data: bytes):
    with pytest.raises((UnreadableImageError, UnsupportedTypeError)):
        decode_square(data, side_px=64)


def png_of_header_alone(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 10) + b"IDAT" + bytes(14)


@pytest.mark.parametrize("size", [(10_000, 6_000), (2**31 - 1, 2**31 - 1), (51_000_001, 1)])
def test_a_huge_size_in_the_header_is_rejected_before_decoding(size: tuple[int, int]):
    with pytest.raises(TooManyPixelsError, match=r"the PNG photo .* at most 51 .* as JPEG, of which 65"):
        decode_square(png_of_header_alone(*size), side_px=64)


def resized_by_header(data: bytes, size: tuple[int, int], new: tuple[int, int], order: str) -> bytes:
    """Replace width and height wherever they are stored."""
    for layout in (f"{order}II", f"{order}HH"):
        if max(new) < 65536 or layout[-1] == "I":
            data = data.replace(struct.pack(layout, *size), struct.pack(layout, *new))
    for old_side, new_side in zip(size, new, strict=True):  # entries of a TIFF
        data = data.replace(
            b"\4\0\1\0\0\0" + struct.pack("<I", old_side), b"\4\0\1\0\0\0" + struct.pack("<I", new_side)
        )
    return data


@pytest.mark.parametrize(
    ("format", "order"),
    [("HEIC", ">"), ("AVIF", ">"), ("JPEG2000", ">"), ("GIF", "<"), ("BMP", "<"), ("PNG", ">")],
)
def test_each_format_is_rejected_by_its_header_alone(
    format: str, order: str, monkeypatch: pytest.MonkeyPatch
):
    data = resized_by_header(encoded(split_picture(402, 206), format), (402, 206), (9000, 6000), order)
    monkeypatch.delattr(Image, "open")
    monkeypatch.delattr("models.images.run_isolated")

    with pytest.raises(TooManyPixelsError, match=r"9000 x 6000 = 54\.0 megapixels, at most 51"):
        decode_square(data, side_px=64)


@pytest.mark.parametrize(
    ("size", "error"), [((8192, 6144), None), ((9248, 6936), None), ((8126, 8000), "65")]
)
def test_a_jpeg_has_up_to_65_megapixels(size: tuple[int, int], error: str | None):
    data = encoded(Image.new("L", size, 90), "JPEG")

    if error:
        with pytest.raises(TooManyPixelsError, match=r"at most 65 are allowed; make it smaller$"):
            decode_square(data, side_px=64)
    else:
        assert decode_square(data, side_px=64).width_px == size[0]


def test_a_lower_limit_of_the_settings_holds_for_all_formats():
    with pytest.raises(TooManyPixelsError, match=r"at most 0\.07 are allowed; make it smaller$"):
        decode_square(encoded(split_picture(), "BMP"), side_px=64, limits=PhotoLimits(max_pixels=70_000))


def test_too_many_bytes_are_rejected():
    with pytest.raises(TooLargeError, match=r"20\.1 MB.*at most 20 MB"):
        decode_square(bytes(20_000_001), side_px=64)


def exif_with_overlapping_entries(num_entries: int, num_bytes: int) -> bytes:
    """Each entry refers to the same bytes."""
    start = 10 + 12 * num_entries + 4
    entries = [struct.pack("<HHII", 40_000 + tag, 7, num_bytes, start) for tag in range(num_entries)]
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", num_entries)
    return b"Exif\0\0" + head + b"".join(entries) + bytes(4) + bytes(num_bytes)


def with_segments(marker: bytes, parts: Sequence[bytes]) -> bytes:
    """Return a JPEG with these segments and without JFIF, of which Pillow reads the EXIF at once."""
    jpeg = encoded(split_picture(), "JPEG")
    segments = [marker + struct.pack(">H", len(part) + 2) + part for part in parts]
    return jpeg[:2] + b"".join(segments) + jpeg[20:]


def memory_of_decoding(data: bytes) -> int:
    tracemalloc.start()
    assert decode_square(data, side_px=32).width_px == 400
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("num_entries, num_bytes", [(1000, 500_000), (5000, 4000)], ids=["large", "small"])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_exif_of_overlapping_entries_takes_bounded_memory(format: str, num_entries: int, num_bytes: int):
    """500 MB and 20 MB with all entries."""
    exif = exif_with_overlapping_entries(num_entries, num_bytes)
    if format == "JPEG":
        parts = [b"Exif\0\0" + exif[start : start + 65_000] for start in range(6, len(exif), 65_000)]
        data = with_segments(b"\xff\xe1", parts)
    else:
        data = encoded(split_picture(), format, exif=exif)

    assert memory_of_decoding(data) < 10_000_000


def test_the_index_of_a_jpeg_with_several_pictures_is_not_parsed():
    index = b"MPF\0" + exif_with_overlapping_entries(4000, 15_000).removeprefix(b"Exif\0\0")

    assert memory_of_decoding(with_segments(b"\xff\xe2", [index])) < 10_000_000  # 60 MB with all entries


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "HEIC"])
@pytest.mark.parametrize("damage", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff"], ids=["zeros", "cut", "offset"])
def test_damaged_exif_does_not_reject_a_photo(format: str, damage: bytes):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    written = exif.tobytes()
    picture = split_picture()
    picture.info["exif"] = written  # pillow-heif takes it from here
    data = encoded(picture, format, exif=written)
    assert data.count(written[6:]) == 1

    damaged = data.replace(written[6:], damage.ljust(len(written) - 6, b"\0"))

    assert decode_square(damaged, side_px=32).width_px == 400


def test_limits_of_zero_are_rejected():
    with pytest.raises(ValueError, match="must be positive"):
        PhotoLimits(max_bytes=0)


def test_decoded_pixels_are_bounded_too():
    image = np.asarray(split_picture(1000, 500))

    photo = bound_array(image, max_side_px=640)

    assert photo.image_HWC.shape == (320, 640, 3)
    assert (photo.width_px, photo.height_px) == (1000, 500)


WHOLE = {format.name: photo_file(split_picture(120, 80), format) for format in PHOTO_FORMATS}


@settings(deadline=None)
@given(format=st.sampled_from(sorted(WHOLE)), data=st.data())
def test_a_truncated_photo_is_rejected(format: str, data: st.DataObject):
    length = data.draw(st.integers(0, len(WHOLE[format]) // 3))

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


@pytest.mark.parametrize(
    ("picture", "colour"),
    [
        (Image.fromarray(np.full((40, 40), 100 * 256, np.uint16)), (100, 100, 100)),
        (Image.new("1", (40, 40), 1), (255, 255, 255)),
        (Image.new("L", (40, 40), 70), (70, 70, 70)),
        (Image.new("P", (40, 40)), (0, 0, 0)),
        (Image.new("RGBA", (40, 40), (9, 9, 9, 0)), (255, 255, 255)),
        (Image.new("CMYK", (40, 40), (0, 255, 255, 0)), (255, 0, 0)),
        (Image.new("LAB", (40, 40), (255, 128, 128)), (255, 255, 255)),
    ],
    ids=lambda value: getattr(value, "mode", ""),
)
def test_the_modes_of_tiff_are_decoded(picture: Image.Image, colour: tuple[int, int, int]):
    photo = decode_square(encoded(picture, "TIFF"), side_px=32)

    assert tuple(photo.image_HWC[16, 16]) == pytest.approx(colour, abs=2)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bits_per_channel_are_rejected(mode: str):
    with pytest.raises(UnreadableImageError, match="save it with 8-bit channels"):
        decode_square(encoded(Image.new(mode, (40, 40), 9), "TIFF"), side_px=32)


def test_a_large_jpeg_2000_is_decoded_at_a_reduced_size():
    data = encoded(split_picture(1600, 800), "JPEG2000", num_resolutions=3)

    photo = decode_square(data, side_px=32)

    assert (photo.width_px, photo.height_px) == (1600, 800)
    assert mean_colour(photo, "left") == pytest.approx(RED, abs=5)


def test_a_gif_whose_frame_is_larger_than_its_screen_is_rejected():
    gif = bytearray(encoded(split_picture(), "GIF"))
    frame = gif.index(b"\x2c\0\0\0\0" + struct.pack("<HH", 400, 200))
    gif[frame + 5 : frame + 9] = struct.pack("<HH", 60_000, 60_000)

    with pytest.raises(TooManyPixelsError, match="GIF"):
        decode_square(bytes(gif), side_px=32)
