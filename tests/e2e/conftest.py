"""A browser, an HTTP client and drawn photos for the tests of the server."""

from collections.abc import Iterator

import httpx
import pytest

from samples.lesion import draw_lesion
from samples.series import draw_series
from tests.chromium import chromium as chromium
from tests.e2e.keyed_server import keyed as keyed
from tests.serve.fakes import jpeg_of


@pytest.fixture(scope="module")
def http(server_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server_url, timeout=90, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def lesion() -> bytes:
    return jpeg_of(draw_lesion(seed=3))


@pytest.fixture(scope="module")
def faces() -> list[bytes]:
    return [jpeg_of(photo) for photo in draw_series(improving=True, num_photos=3, seed=5)]
