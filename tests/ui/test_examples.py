import io
import threading
import time

import httpx
import pytest
from fastapi import FastAPI
from PIL import ExifTags, Image

from tests.ui.conftest import served
from ui.examples import Example
from ui.memory_files import add_drawn_files


@pytest.fixture
def drawings() -> list[int]:
    """Hold the number of calls of ``draw``."""
    return []


@pytest.fixture
def example(drawings: list[int]) -> Example:
    def draw() -> list[Image.Image]:
        drawings.append(1)
        time.sleep(0.1)  # the requests of the others arrive meanwhile
        return [Image.new("RGB", (400, 300), color) for color in ("red", "green", "blue")]

    return Example(name="better", title="", draw=draw, num_photos=3)


def test_an_example_is_drawn_once_for_the_first_visitor(example: Example, drawings: list[int]):
    site = FastAPI()
    add_drawn_files(site, example.files)
    assert drawings == []

    answers: list[httpx.Response] = []
    with served(site) as url:
        addresses = [*example.tile_addresses, *example.photo_addresses]
        threads = [
            threading.Thread(target=lambda one=one: answers.append(httpx.get(f"{url}/{one}")))
            for one in addresses
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        tag = answers[0].headers["etag"]
        again = httpx.get(answers[0].url, headers={"if-none-match": tag})

    assert drawings == [1] and [answer.status_code for answer in answers] == 5 * [200]
    assert again.status_code == 304 and len({answer.content for answer in answers}) == 5


def test_photos_are_a_day_apart_and_tiles_show_the_first_and_the_last(example: Example):
    files = {address: Image.open(io.BytesIO(content())) for address, content in example.files.items()}

    days = [
        files[address].getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal]
        for address in example.photo_addresses
    ]
    assert days == ["2024:03:01 09:00:00", "2024:03:02 09:00:00", "2024:03:03 09:00:00"]
    first, last = (files[address].getpixel((10, 10)) for address in example.tile_addresses)
    assert isinstance(first, tuple) and first[0] > 200 > 50 > first[2]
    assert isinstance(last, tuple) and last[2] > 200 > 50 > last[0]
