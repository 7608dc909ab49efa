from PIL import Image

from models.image_files.avif import without_exif
from models.images import decode_bounded
from tests.photo_files import encoded, split_picture


def test_exif_is_hidden_and_the_photo_stays():
    exif = Image.Exif()
    exif[0x0132] = "2026:01:02 03:04:05"
    data = encoded(split_picture(), "AVIF", exif=exif)

    hidden = without_exif(data)

    assert hidden is not None and len(hidden) == len(data)
    assert decode_bounded(data).taken_at is not None
    assert decode_bounded(hidden).taken_at is None


def test_a_photo_without_exif_gives_none():
    assert without_exif(encoded(split_picture(), "AVIF")) is None
