import pytest

from models.images import decode_square
from tests.photo_files import encoded, split_picture


@pytest.mark.parametrize(
    "damaged", [b"mime\0\xff\xff\xff\xffication/rdf+xml", b"mime\0application/rdf\xdcxml"]
)
def test_a_damaged_content_type_of_metadata_does_not_reject_a_photo(damaged: bytes):
    """pi_heif 1.4.0 crashes on it."""
    picture = split_picture()
    picture.info["xmp"] = b"<x:xmpmeta/>"
    data = encoded(picture, "HEIC")
    assert data.count(b"mime\0application/rdf+xml") == 1

    photo = decode_square(data.replace(b"mime\0application/rdf+xml", damaged), side_px=32)

    assert photo.width_px == 400
