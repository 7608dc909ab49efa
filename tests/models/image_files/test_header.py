import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.image_files.header import header_size
from models.limits import PHOTO_FORMATS, PhotoFormat
from tests.photo_files import encoded, photo_file, split_picture

OTHERS = [format for format in PHOTO_FORMATS if format.name != "JPEG"]
BY_NAME = {format.name: format for format in PHOTO_FORMATS}


@pytest.mark.parametrize("format", OTHERS, ids=lambda format: format.name)
def test_the_size_is_read_from_the_header(format: PhotoFormat):
    assert header_size(photo_file(split_picture(402, 206), format), format) == (402, 206)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("WebP", encoded(split_picture(), "WEBP", lossless=True)),
        ("WebP", encoded(split_picture(), "WEBP", exif=b"Exif\0\0")),
        ("TIFF", encoded(split_picture(), "TIFF", big_tiff=True)),
        ("TIFF", encoded(split_picture(), "TIFF", compression="tiff_lzw")),
        ("JPEG 2000", encoded(split_picture(), "JPEG2000", no_jp2=True)),
    ],
)
def test_variants_of_a_format_are_read(name: str, data: bytes):
    assert header_size(data, BY_NAME[name]) == (400, 200)


def test_the_largest_picture_of_a_heic_counts():
    boxes = b"".join(
        b"\0\0\0\x14ispe\0\0\0\0" + w.to_bytes(4, "big") + h.to_bytes(4, "big")
        for w, h in ((512, 512), (8160, 6144), (320, 240))
    )

    assert header_size(b"\0\0\0\x10ftypheic\0\0\0\0" + boxes, BY_NAME["HEIC"]) == (8160, 6144)


@given(format=st.sampled_from(OTHERS), data=st.data())
def test_a_cut_or_damaged_header_gives_a_size_or_none(format: PhotoFormat, data: st.DataObject):
    whole = bytearray(WHOLE[format.name][: data.draw(st.integers(0, 400))])
    for _ in range(data.draw(st.integers(0, 5)) if whole else 0):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))

    assert header_size(bytes(whole), format) is None or len(header_size(bytes(whole), format) or ()) == 2


WHOLE = {format.name: photo_file(split_picture(60, 40), format) for format in OTHERS}
