import asyncio
import socket
from collections.abc import Callable

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse
from fastapi.testclient import TestClient

from serve.runtime.forwarded_headers import ForwardedHeadersMiddleware
from serve.runtime.ray_env import EVERYWHERE
from tests.serve.fakes import FakeModels, fake_app

PROXY = {
    "x-forwarded-prefix": "/skin",
    "x-forwarded-proto": "https",
    "x-forwarded-host": "clinic.example:8443",
}
FORGED = {
    "x-forwarded-prefix": "/evil",
    "x-forwarded-proto": "https",
    "x-forwarded-host": "evil.example",
    "x-forwarded-port": "666",
    "x-forwarded-for": "192.0.2.66",
    "forwarded": "for=192.0.2.66;host=evil.example;proto=https",
    "x-gradio-server": "http://evil.example",
}
PATHS = ("/", "/docs", "/openapi.json", "/seen")


@pytest.fixture
def address() -> Callable[..., str]:
    """Return the URL that an application behind the middleware sees."""

    def get(headers: dict[str, str] | list[tuple[str, str]], trusted: bool = True) -> str:
        app = with_echo(FastAPI())
        client = TestClient(ForwardedHeadersMiddleware(app, trusted=trusted), root_path="/ui")
        return client.get("/ui/seen", headers=headers).json()["url"]

    return get


def with_echo(app: FastAPI) -> FastAPI:
    @app.get("/seen")
    async def seen(request: Request) -> dict[str, object]:
        client = request.client and request.client.host
        return {"url": str(request.url), "client": client, "headers": sorted(request.headers)}

    return app


def test_a_trusted_proxy_sets_prefix_scheme_and_host(address: Callable[..., str]):
    assert address(PROXY) == "https://clinic.example:8443/skin/ui/seen"
    assert address({"x-forwarded-prefix": "/a/b-1/"}) == "http://testserver/a/b-1/ui/seen"
    assert address({"x-forwarded-host": "[2001:db8::1]:8443"}) == "http://[2001:db8::1]:8443/ui/seen"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("x-forwarded-prefix", value)
            for value in (
                "",
                "/",
                "skin",
                "//evil.example",
                "/a//b",
                "/a/../b",
                "/.",
                "/a/..",
                "/a b",
                "/a\\b",
                "/a%2e",
                "/a?b",
                "/a,/b",
                "/a<script>",
                "https://evil.example",
                "/" + "a" * 255,
            )
        ),
        *(("x-forwarded-proto", value) for value in ("", "javascript", "https, http", "https:", "HTTPS ")),
        *(
            ("x-forwarded-host", value)
            for value in (
                "",
                "a, b",
                "a/b",
                "user@a",
                "a:b",
                "a:1234567",
                "a b",
                "::1",
                "[evil]",
                "a?b",
                "a" * 254,
            )
        ),
    ],
)
def test_invalid_values_are_ignored(address: Callable[..., str], name: str, value: str):
    assert address({name: value}) == "http://testserver/ui/seen"


def test_repeated_headers_are_ignored(address: Callable[..., str]):
    assert address([("x-forwarded-host", "a"), ("x-forwarded-host", "b")]) == "http://testserver/ui/seen"


@pytest.mark.parametrize(
    ("location", "sent"),
    [
        ("http://testserver/ui/?a=b", "/ui/?a=b"),
        ("http://testserver.example/", "http://testserver.example/"),
        ("https://testserver/", "https://testserver/"),
        ("ui/", "ui/"),
    ],
)
def test_redirects_within_the_server_have_no_scheme_and_host(location: str, sent: str):
    app = FastAPI()
    app.add_api_route("/", lambda: RedirectResponse(location))
    client = TestClient(ForwardedHeadersMiddleware(app, trusted=False), follow_redirects=False)

    assert client.get("/").headers["location"] == sent


def test_line_breaks_never_reach_a_url():
    sent: list[str] = []

    async def app(scope, receive, send):
        sent.append(f"{scope['path']} {scope['scheme']} {dict(scope['headers'])}")

    for name in PROXY:
        headers = [(name.encode(), b"/a\r\nset-cookie: b"), (b"host", b"testserver")]
        scope = {"type": "http", "path": "/seen", "scheme": "http", "headers": headers}
        asyncio.run(ForwardedHeadersMiddleware(app, trusted=True)(scope, None, None))  # pyright: ignore[reportArgumentType]

    assert sent == ["/seen http {b'host': b'testserver'}"] * 3


def test_the_api_works_under_the_prefix_of_a_trusted_proxy():
    app = fake_app(FakeModels(), gateway={"trust_proxy_headers": True})
    client = TestClient(app, follow_redirects=False, headers=PROXY)

    assert client.get("/").headers["location"] == "ui/"
    assert client.get("/openapi.json").json()["servers"] == [{"url": "/skin"}]
    assert client.get("/v1/models").status_code == 200
    assert client.get("/docs/static/swagger-ui.css").status_code == 200
    other = client.get("/openapi.json", headers={"x-forwarded-prefix": "/other"})
    assert other.json()["servers"] == [{"url": "/other"}], "no prefix is cached"


async def test_forged_headers_change_nothing_by_default(monkeypatch: pytest.MonkeyPatch):
    """On the port of a replica, which HAProxy and any client reach alike."""
    for variable in EVERYWHERE:
        if variable.name == "FORWARDED_ALLOW_IPS":
            monkeypatch.setenv(variable.name, variable.value)
    config = uvicorn.Config(with_echo(fake_app(FakeModels())), lifespan="off", log_level="warning")
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        running = asyncio.create_task(server.serve([listener]))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with httpx.AsyncClient(base_url=url) as client:
            answers = [
                await client.get(path, headers={**headers, "x-request-id": "1"})
                for headers in ({}, FORGED)
                for path in PATHS
            ]
        server.should_exit = True
        await running

    clean, forged = answers[: len(PATHS)], answers[len(PATHS) :]
    assert [one.status_code for one in clean] == [307, 200, 200, 200]
    for one, other in zip(clean, forged, strict=True):
        assert (one.status_code, one.text) == (other.status_code, other.text)
        assert one.headers.get("location") == other.headers.get("location")
    assert clean[-1].json()["url"] == f"{url}/seen"
