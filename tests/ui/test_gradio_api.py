"""The endpoints with names, called by the real ``gradio_client``."""

import base64
import itertools
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

import ui.site
from tests.ui.conftest import FakeApi, patch_examples, served
from ui.client import ApiClient
from ui.config import UiConfig


@pytest.fixture(scope="module")
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture(scope="module")
def address(api: FakeApi) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch_examples(patch)
        client = ApiClient("http://api", transport=httpx.ASGITransport(api.app()))
        with served(ui.site.build_site(UiConfig(max_request_bytes=3_000_000), client)) as address:
            yield address


@pytest.fixture(scope="module")
def program(address: str) -> Client:
    return Client(address, verbose=False)


def in_base64(photo: bytes) -> str:
    return base64.b64encode(photo).decode()


def test_photos_reach_the_api_unchanged(program: Client, api: FakeApi):
    lesion = program.predict(in_base64(b"\xff\xd8photo"), api_name="/lesion")
    assert lesion["verdict"] == "benign" and api.photos == [b"\xff\xd8photo"]

    series = program.predict([in_base64(b"one"), in_base64(b"two")], api_name="/progress")
    assert series["verdict"] == "improved" and api.photos == [b"one", b"two"]

    assert len(program.predict(api_name="/models")["models"]) == 2


def test_the_endpoints_are_described(program: Client):
    described = program.view_api(return_format="dict", print_info=False)

    assert isinstance(described, dict)
    assert set(described["named_endpoints"]) == {"/lesion", "/progress", "/models"}


def test_an_error_of_the_api_reaches_the_program(program: Client, api: FakeApi):
    api.fail(429, "rate_limited", "key clinic has no photos left today; wait until midnight")
    with pytest.raises(AppError, match="rate_limited: Key clinic has no photos left today"):
        program.predict(in_base64(b"photo"), api_name="/lesion")
    api.reset()

    with pytest.raises(AppError, match="not base64"):
        program.predict("§", api_name="/lesion")


def test_a_call_without_a_queue_is_one_request(address: str):
    answer = httpx.post(f"{address}/gradio_api/run/lesion", json={"data": [in_base64(b"photo")]})

    assert answer.json()["data"][0]["verdict"] == "benign"


def test_a_call_over_the_limit_of_a_request_is_rejected(address: str):
    answer = httpx.post(f"{address}/gradio_api/run/lesion", json={"data": ["A" * 6_000_000]})

    assert answer.status_code == 413


def test_with_two_replicas_a_lost_call_is_an_error_and_a_call_without_a_queue_is_answered(api: FakeApi):
    """Every request reaches the other replica than the one before."""
    with pytest.MonkeyPatch.context() as patch:
        patch_examples(patch)
        client = ApiClient("http://api", transport=httpx.ASGITransport(api.app()))
        replicas = itertools.cycle([ui.site.build_site(UiConfig(), client) for _ in range(2)])

        async def round_robin(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                await next(replicas)(scope, receive, send)

        with served(round_robin) as address:
            program = Client(address, verbose=False)
            with pytest.raises(ValueError, match="Server stopped"):
                program.predict(in_base64(b"photo"), api_name="/lesion")
            for _ in range(4):
                answer = httpx.post(f"{address}/gradio_api/run/lesion", json={"data": [in_base64(b"photo")]})
                assert answer.json()["data"][0]["verdict"] == "benign"
