import random

import pytest

from models.image_files.formats import recognise_format
from models.images import PhotoError, decode_square
from models.limits import PHOTO_FORMATS
from tests.fuzz.mutators import MAX_BYTES, MUTATORS, Mutator, find_parts, mutate, repair_png
from tests.fuzz.photo_seeds import photo_seeds
from tests.fuzz.requests import body_request, file_request


@pytest.fixture(scope="module")
def seeds() -> dict[str, bytes]:
    return photo_seeds()


def test_every_seed_is_a_photo_of_its_format(seeds: dict[str, bytes]):
    for name, data in seeds.items():
        assert name.startswith(recognise_format(data).pillow_name + " ")
        assert decode_square(data, side_px=8).image_HWC.shape == (8, 8, 3), name
    assert {name.split()[0] for name in seeds} == {format.pillow_name for format in PHOTO_FORMATS}


def test_equal_seeds_give_equal_requests():
    for make in (file_request, body_request):
        first, second, other = ([make(seed, number) for number in range(30)] for seed in (1, 1, 2))
        assert first == second != other


@pytest.mark.parametrize("mutator", MUTATORS, ids=lambda mutator: mutator.__name__)
def test_every_mutator_changes_any_photo(mutator: Mutator, seeds: dict[str, bytes]):
    rng = random.Random(1)
    other = seeds["JPEG metadata"]

    for name, data in seeds.items():
        assert any(mutator(rng, data, other) != data for _ in range(20)), name
    assert isinstance(mutator(rng, b"", b""), bytes)


def test_a_mutated_file_is_bounded():
    rng = random.Random(1)

    assert max(len(mutate(rng, bytes(50_000), bytes(50_000))) for _ in range(50)) <= MAX_BYTES


@pytest.mark.parametrize("name", ["JPEG metadata", "PNG metadata", "WEBP metadata", "HEIC metadata"])
def test_the_parts_of_a_file_are_found(name: str, seeds: dict[str, bytes]):
    data = seeds[name]

    parts = find_parts(data)

    assert len(parts) >= 4
    assert all(data[part.start : part.end] for part in parts)


def test_the_checksums_of_a_png_are_repaired(seeds: dict[str, bytes]):
    data = bytearray(seeds["PNG P"])
    data[data.index(b"PLTE") + 4] ^= 1
    with pytest.raises(PhotoError):
        decode_square(bytes(data), side_px=8)

    assert decode_square(repair_png(bytes(data)), side_px=8).width_px == 64
