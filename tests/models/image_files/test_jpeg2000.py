import time

from models.image_files.jpeg2000 import num_reductions
from tests.photo_files import encoded, split_picture


def test_the_number_of_reductions_is_read_from_the_coding_style():
    assert num_reductions(encoded(split_picture(), "JPEG2000", num_resolutions=4)) == 3


def test_a_photo_without_coding_style_cannot_be_reduced():
    assert num_reductions(b"") == 0


def test_many_starts_of_a_codestream_are_read_in_linear_time():
    start = time.process_time()

    assert num_reductions(b"\xff\x4f\xff\x51" * 300_000) == 0
    assert time.process_time() - start < 1
