import io
import re
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.image_files.jpeg import jpeg_decoding_cost
from models.images import UnreadableImageError, decode_bounded, decode_square
from tests.photo_files import encoded, gradient, split_picture


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


PHOTO = gradient(480, 1200)
BASELINE = encoded(PHOTO, "JPEG", quality=90)
KINDS = {
    "baseline": BASELINE,
    "grey": encoded(PHOTO.convert("L"), "JPEG", quality=90),
    "cmyk": encoded(PHOTO.convert("CMYK"), "JPEG", quality=90),
    "restarts": encoded(PHOTO, "JPEG", quality=90, restart_marker_rows=1),
    "progressive": encoded(PHOTO, "JPEG", quality=90, progressive=True),
}


def difference(data: bytes, whole: bytes) -> float:
    photos = [decode_bounded(file, max_side_px=300).image_HWC.astype(int) for file in (data, whole)]
    return float(np.abs(photos[0] - photos[1]).mean())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "end",
    [
        b"",
        b"\xff",
        bytes(5000),
        b"\0\0\x01\x0a" + np.random.default_rng(0).bytes(200_000) + b"SEFT",  # of Samsung
        b"\xff\xe1\xff\xff maker",
        b"\xff\xd9" + b"video" * 1000,
        b"\xff\xd9" + BASELINE,
    ],
    ids=["none", "half", "zeros", "Samsung", "segment", "motion photo", "second photo"],
)
def test_a_photo_without_end_marker_or_with_data_behind_it_is_read(kind: str, end: bytes):
    assert difference(KINDS[kind][:-2] + end, KINDS[kind]) < 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_bytes_may_be_missing(kind: str):
    assert difference(KINDS[kind][:-20], KINDS[kind]) < 1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "progressive"])
@pytest.mark.parametrize("end", [b"", bytes(5000)], ids=["cut", "zeros"])
def test_a_truncated_photo_is_rejected_with_its_missing_rows(kind: str, end: bytes):
    data = KINDS[kind]
    start = data.rindex(b"\xff\xda")
    cut = data[: start + (len(data) - start) // 2] + end

    for decode in (lambda: decode_square(cut, side_px=64), lambda: decode_bounded(cut)):
        with pytest.raises(UnreadableImageError, match=r"truncated: [345]\d% of its rows are missing"):
            decode()


def test_a_truncated_progressive_photo_is_rejected_unless_its_last_scan_has_begun():
    data = KINDS["progressive"]
    last = data.rindex(b"\xff\xda")

    with pytest.raises(UnreadableImageError, match="truncated"):
        decode_square(data[:last], side_px=64)
    assert difference(data[: last + (len(data) - last) // 2], data) < 3


@pytest.mark.parametrize(("missing", "is_read"), [(1, True), (3, False)])
def test_at_most_a_fiftieth_of_the_rows_may_be_missing(missing: int, is_read: bool):
    data = KINDS["restarts"]  # 75 rows of blocks; a restart marker starts each
    starts = [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", data)]
    cut = data[: starts[-missing]]

    if is_read:
        assert decode_bounded(cut).height_px == 1200
    else:
        with pytest.raises(UnreadableImageError, match="truncated: 3%"):
            decode_bounded(cut)


def test_the_first_picture_of_a_cut_multi_picture_file_is_read():
    file = io.BytesIO()
    PHOTO.save(file, "MPO", save_all=True, append_images=[split_picture()], quality=90)
    data = file.getvalue()

    assert difference(data[: len(data) - 1000], BASELINE) < 1
