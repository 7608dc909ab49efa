import base64
import time

import pytest

from models.image_files.errors import UnreadableImageError, UnsupportedTypeError
from models.image_files.formats import recognise_format
from models.limits import PHOTO_FORMATS, PhotoFormat
from tests.photo_files import encoded, photo_file, split_picture

JPEG = encoded(split_picture(), "JPEG")


@pytest.mark.parametrize("format", PHOTO_FORMATS, ids=lambda format: format.name)
def test_each_format_is_recognised_by_its_content(format: PhotoFormat):
    assert recognise_format(photo_file(split_picture(), format)) is format


@pytest.mark.parametrize(
    ("brands", "name"),
    [
        (b"heic\0\0\0\0mif1heic", "HEIC"),
        (b"mif1\0\0\0\0mif1heicMiPr", "HEIC"),
        (b"avif\0\0\0\0mif1avif", "AVIF"),
        (b"mif1\0\0\0\0mif1miafavif", "AVIF"),
        (b"heix\0\0\0\0", "HEIC"),
    ],
)
def test_heic_and_avif_differ_by_their_brands(brands: bytes, name: str):
    assert recognise_format(b"\0\0\0\x20ftyp" + brands + bytes(50)).name == name


def raw_tiff(*fields: tuple[int, int]) -> bytes:
    entries = b"".join(
        tag.to_bytes(2, "little") + b"\4\0\1\0\0\0" + value.to_bytes(4, "little") for tag, value in fields
    )
    return b"II*\0\x08\0\0\0" + len(fields).to_bytes(2, "little") + entries + bytes(4)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"<!DOCTYPE html><html></html>", "web page.*send the photo itself"),
        (b"\n <HTML><body>", "web page"),
        (b"<?xml version='1.0'?>\n<svg xmlns='x'/>", "SVG"),
        (b"\xef\xbb\xbf<svg/>", "SVG"),
        (b"<?xml version='1.0'?><!-- Inkscape --><!DOCTYPE svg PUBLIC ''>\n<svg/>", "SVG"),
        (b"<!DOCTYPE html><html><svg/></html>", "web page"),
        (b"%PDF-1.7", "PDF"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL.*save it as JPEG"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1", "camera RAW"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(50), "camera RAW"),
        (raw_tiff((256, 4000), (257, 3000), (50706, 0x401)), "camera RAW"),
        (raw_tiff((254, 1), (256, 160), (257, 120), (330, 99)), "camera RAW"),
        (raw_tiff((256, 4000), (257, 3000), (259, 34713)), "camera RAW.*export it as JPEG"),
        (raw_tiff((256, 4000), (257, 3000), (262, 32803)), "camera RAW"),
        (b"FUJIFILMCCD-RAW 0201", "camera RAW"),
        (b"IIU\0\x18\0\0\0", "camera RAW"),
        (b"\0\0\0\x18ftypmp42", "video.*one picture"),
        (b"\0\0\0\x14ftypqt  ", "video"),
        (b"\x1aE\xdf\xa3", "video"),
        (b"PK\x03\x04", "archive.*unpack"),
        (bytes(128) + b"DICM", "DICOM"),
        (b"8BPS\0\1", "Photoshop"),
        (base64.b64encode(JPEG), 'base64 text.*JSON {"image": "..."}'),
        (base64.encodebytes(encoded(split_picture(), "PNG")), "base64 text"),
        (b"data:image/jpeg;base64," + base64.b64encode(JPEG), "data URI.*JSON"),
        (b'{"image": "x"}', "JSON"),
        (b"x", "this is not a JPEG, PNG, WebP, .* or BMP photo; save it as JPEG"),
    ],
)
def test_another_type_is_named_with_what_to_do(data: bytes, what: str):
    with pytest.raises(UnsupportedTypeError, match=what):
        recognise_format(data)


def test_an_empty_file_is_unreadable():
    with pytest.raises(UnreadableImageError, match="empty"):
        recognise_format(b"")


def test_text_is_recognised_in_time_linear_in_its_length():
    text = b"<?xml" + b"<!--" * 300 + b"--><!doctype svg" * 180
    start = time.process_time()
    with pytest.raises(UnsupportedTypeError):
        recognise_format(text)

    assert time.process_time() - start < 0.5
