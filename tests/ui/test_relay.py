"""The relay for servers with keys, over real connections: streaming, headers, clients that leave."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

import ui.site
from serve.runtime.forwarded_headers import TrustedProxy
from tests.ui.conftest import served
from ui.config import UiConfig

pytestmark = pytest.mark.usefixtures("small_examples")


class RecordingApi:
    """Record chunks as they arrive and whether the client left; answer when ``hold`` is set."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.headers: dict[str, str] = {}
        self.target = ""
        self.has_chunk, self.has_body, self.left = (threading.Event() for _ in range(3))
        self.hold, self.pause = threading.Event(), threading.Event()
        self.hold.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        self.headers, self.target = dict(request.headers), f"{request.url.path}?{request.url.query}"
        try:
            async for chunk in request.stream():
                self.chunks.append(chunk)
                self.has_chunk.set()
                while self.pause.is_set():
                    await asyncio.sleep(0.01)
        except ClientDisconnect:
            self.left.set()
            return
        self.has_body.set()
        if not self.hold.is_set():
            assert (await receive())["type"] == "http.disconnect"
            self.left.set()
            return
        headers = {
            "cache-control": "private, no-cache",
            "etag": 'W/"1"',
            "retry-after": "7",
            "ratelimit": '"a";r=0;t=7',
            "x-request-id": "case-7",
            "set-cookie": "a=b",
            "content-language": "de",
            "vary": "Accept-Language",
        }
        await Response(b'{"error":1}', 429, headers, "application/json")(scope, receive, send)


@pytest.fixture
def upstream() -> RecordingApi:
    return RecordingApi()


@pytest.fixture
def page(upstream: RecordingApi, tmp_path: Any) -> Iterator[str]:
    """Serve the page with a key and, behind it, the recording API."""
    (tmp_path / "page.key").write_text("skin_key-of-the-page\n")
    with served(upstream) as api_url:
        config = UiConfig(api_url=api_url, api_key_file=tmp_path / "page.key", access="open")
        with served(ui.site.build_site(config)) as address:
            yield address


def test_key_and_query_are_added_and_only_named_headers_pass(page: str, upstream: RecordingApi):
    sent = {"cookie": "c=d", "authorization": "Bearer x", "x-request-id": "case-7", "accept-language": "de"}
    sent |= {"if-none-match": 'W/"1"'}
    answer = httpx.post(
        f"{page}/v1/lesion?top_k=3&explain=true",
        content=b"photo",
        headers={**sent, "content-type": "image/jpeg"},
    )

    assert upstream.target == "/v1/lesion?top_k=3&explain=true"
    assert b"".join(upstream.chunks) == b"photo"
    assert upstream.headers["authorization"] == "Bearer skin_key-of-the-page"
    assert upstream.headers["content-length"] == "5" and upstream.headers["accept-language"] == "de"
    assert upstream.headers["if-none-match"] == 'W/"1"'
    assert "cookie" not in upstream.headers and "x-forwarded-for" not in upstream.headers
    assert (answer.status_code, answer.json()) == (429, {"error": 1})
    expected = {
        "cache-control": "private, no-cache",
        "content-language": "de",
        "etag": 'W/"1"',
        "vary": "Accept-Language, Accept-Encoding",
        "retry-after": "7",
        "ratelimit": '"a";r=0;t=7',
        "x-request-id": "case-7",
        "set-cookie": None,
    }
    assert {name: answer.headers.get(name) for name in expected} == expected


def test_the_address_of_a_visitor_is_passed_on_with_the_secret_of_the_proxy(
    upstream: RecordingApi, tmp_path: Any
):
    secret = "secret-of-the-trusted-proxy"
    for name, text in (("page.key", "skin_key"), ("secret", secret)):
        (tmp_path / name).write_text(text)
    proxy = TrustedProxy(name="nginx", secret_file=str(tmp_path / "secret"))
    with served(upstream) as api_url:
        config = UiConfig(
            api_url=api_url, api_key_file=tmp_path / "page.key", access="proxy", trusted_proxy=proxy
        )
        with served(ui.site.build_site(config)) as address:
            direct = httpx.get(f"{address}/v1/models", headers={"x-forwarded-for": "192.0.2.9"})
            assert direct.status_code == 401 and upstream.target == ""
            headers = {"x-forwarded-for": "192.0.2.7", "x-skinserve-proxy-secret": secret}
            httpx.get(f"{address}/v1/models", headers=headers)

    assert upstream.headers["x-forwarded-for"] == "192.0.2.7"
    assert upstream.headers["x-skinserve-proxy-secret"] == secret


def test_a_body_streams_through_before_it_is_complete(page: str, upstream: RecordingApi):
    seen: list[bool] = []

    def body() -> Iterator[bytes]:
        yield b"first"
        seen.append(upstream.has_chunk.wait(10))
        yield b"second"

    httpx.post(f"{page}/v1/progress", content=body(), headers={"content-type": "multipart/form-data"})

    assert seen == [True]
    assert b"".join(upstream.chunks) == b"firstsecond"


@pytest.mark.parametrize("complete", [False, True], ids=["during the upload", "before the answer"])
def test_a_client_that_leaves_cancels_the_request_of_the_api(
    page: str, upstream: RecordingApi, complete: bool
):
    upstream.hold.clear()
    host, port = page.removeprefix("http://").split(":")
    length = 5 if complete else 50
    with socket.create_connection((host, int(port))) as client:
        client.sendall(
            f"POST /v1/lesion HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\nphoto".encode()
        )
        assert (upstream.has_body if complete else upstream.has_chunk).wait(10)

    assert upstream.left.wait(10)


def test_other_routes_and_methods_are_not_relayed(page: str, upstream: RecordingApi):
    tried = [
        ("GET", "lesion"),
        ("POST", "models"),
        ("POST", "lesion/batch"),
        ("POST", "admin"),
        ("DELETE", "models"),
    ]
    statuses = [httpx.request(method, f"{page}/v1/{path}").status_code for method, path in tried]

    assert set(statuses) <= {404, 405} and upstream.target == ""


def test_a_server_that_is_gone_is_an_error_with_its_wait(tmp_path: Any):
    (tmp_path / "page.key").write_text("skin_key")
    config = UiConfig(api_url="http://127.0.0.1:9", api_key_file=tmp_path / "page.key", access="open")
    with served(ui.site.build_site(config)) as page:
        answer = httpx.post(f"{page}/v1/lesion", content=b"photo")

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["error"]["code"] == "overloaded"


def test_the_pace_of_the_api_is_that_of_the_upload(page: str, upstream: RecordingApi):
    """An API that stops reading stops the client: the relay holds no more than buffers of sockets."""
    upstream.pause.set()
    host, port = page.removeprefix("http://").split(":")
    sent, total = 0, 100_000_000
    try:
        with socket.create_connection((host, int(port)), timeout=1) as client:
            head = f"POST /v1/progress HTTP/1.1\r\nHost: x\r\nContent-Length: {total}\r\n\r\n"
            client.sendall(head.encode())
            with pytest.raises(TimeoutError):
                while sent < total:
                    sent += client.send(bytes(100_000))
    finally:
        upstream.pause.clear()

    assert 0 < sent < 30_000_000


def test_feedback_is_relayed_and_a_receipt_leads_to_no_other_path(page: str, upstream: RecordingApi):
    assert httpx.post(f"{page}/v1/feedback", content=b"form").status_code == 429
    assert upstream.target == "/v1/feedback?" and b"".join(upstream.chunks) == b"form"
    assert httpx.delete(f"{page}/v1/feedback/q0hXo2n8-_").status_code == 429
    assert upstream.target == "/v1/feedback/q0hXo2n8-_?"
    assert upstream.headers["authorization"] == "Bearer skin_key-of-the-page"

    upstream.target = ""
    for receipt in ("%2e%2e", "a%2Fb", "a%3Fb=1", "a" * 65):
        assert httpx.delete(f"{page}/v1/feedback/{receipt}").status_code == 404
    assert upstream.target == ""
