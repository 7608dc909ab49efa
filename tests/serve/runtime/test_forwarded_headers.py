import asyncio
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse
from fastapi.testclient import TestClient

from serve.runtime.forwarded_headers import ForwardedHeadersMiddleware, TrustedProxy
from serve.runtime.ray_env import EVERYWHERE
from tests.serve.fakes import FakeModels, fake_app

SECRET = "secret-of-the-proxy"
PROXY = {
    "x-skinserve-proxy-secret": SECRET,
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
    "x-real-ip": "192.0.2.66",
    "x-skinserve-proxy-secret": "a-forged-secret",
}
PATHS = ("/", "/docs", "/openapi.json", "/seen")


@pytest.fixture
def address() -> Callable[..., str]:
    """Return the URL that an application behind the middleware sees."""

    def get(headers: dict[str, str] | list[tuple[str, str]]) -> str:
        return see([("x-skinserve-proxy-secret", SECRET), *dict_items(headers)])["url"]

    return get


def dict_items(headers: dict[str, str] | list[tuple[str, str]]) -> list[tuple[str, str]]:
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    return [(name, value) for name, value in pairs if name != "x-skinserve-proxy-secret"]


def see(headers: list[tuple[str, str]], secrets: Sequence[str] = (SECRET,)) -> dict[str, Any]:
    """Return what an application behind the middleware sees of a request."""
    app = with_echo(FastAPI())
    client = TestClient(ForwardedHeadersMiddleware(app, secrets=secrets), root_path="/ui")
    return client.get("/ui/seen", headers=headers).json()


@pytest.fixture
def trusted_proxy(tmp_path: Path) -> TrustedProxy:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    return TrustedProxy(name="nginx", secret_file=str(tmp_path / "secret"))


def with_echo(app: FastAPI) -> FastAPI:
    @app.get("/seen")
    async def seen(request: Request) -> dict[str, object]:
        client = request.client and request.client.host
        return {
            "url": str(request.url),
            "client": client,
            "is_trusted": request.scope.get("skinserve.trusted_proxy"),
            "address": request.scope.get("skinserve.client_address"),
            "headers": sorted(request.headers),
        }

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


@pytest.mark.parametrize(
    ("forwarded_for", "client"),
    [
        (["192.0.2.7"], "192.0.2.7"),
        (["203.0.113.1, 192.0.2.7"], "192.0.2.7"),
        (["203.0.113.1", "198.51.100.1,192.0.2.7"], "192.0.2.7"),
        (["evil\t, 192.0.2.7:51234"], "192.0.2.7"),
        (["2001:db8::1"], "2001:db8::1"),
        (["[2001:DB8::1]:443"], "2001:db8::1"),
        (["::ffff:192.0.2.7"], "192.0.2.7"),
        (["fe80::1%eth0"], "fe80::1"),
    ],
)
def test_the_client_is_the_last_address_which_the_proxy_added(forwarded_for: list[str], client: str):
    seen = see([("x-skinserve-proxy-secret", SECRET), *(("x-forwarded-for", one) for one in forwarded_for)])

    assert (seen["client"], seen["address"], seen["is_trusted"]) == (client, client, True)


@pytest.mark.parametrize(
    "forwarded_for", [[], [""], ["unknown"], ["192.0.2.7,"], ["192.0.2.300"], ["1" * 4000], ["192.0.2.7, _x"]]
)
def test_without_a_valid_address_the_client_is_unknown(forwarded_for: list[str]):
    seen = see([("x-skinserve-proxy-secret", SECRET), *(("x-forwarded-for", one) for one in forwarded_for)])

    assert (seen["client"], seen["address"], seen["is_trusted"]) == ("testclient", None, True)


@pytest.mark.parametrize(
    ("sent", "secrets"),
    [
        ([], [SECRET]),
        ([""], [SECRET]),
        ([SECRET[:-1]], [SECRET]),
        ([SECRET + "a"], [SECRET]),
        ([SECRET.upper()], [SECRET]),
        ([SECRET, SECRET], [SECRET]),
        (["a-forged-secret", SECRET], [SECRET]),
        ([SECRET], []),
        ([""], []),
        (["\u00e9" * 16], [SECRET]),
    ],
)
def test_without_the_secret_all_headers_are_removed(sent: list[str], secrets: list[str]):
    forged = [(name, value) for name, value in FORGED.items() if name != "x-skinserve-proxy-secret"]

    seen = see([*forged, *(("x-skinserve-proxy-secret", one.encode("latin-1")) for one in sent)], secrets)  # pyright: ignore[reportArgumentType]

    assert seen["url"] == "http://testserver/ui/seen"
    assert (seen["client"], seen["address"], seen["is_trusted"]) == ("testclient", None, False)
    assert not set(FORGED) & set(seen["headers"])


def test_an_old_and_a_new_secret_are_valid_meanwhile(tmp_path: Path):
    (tmp_path / "secret").write_text("the-old-secret-of-the-proxy\nthe-new-secret-of-the-proxy\n")
    secrets = TrustedProxy(name="nginx", secret_file=str(tmp_path / "secret")).read_secrets()

    for secret in secrets:
        assert see([("x-skinserve-proxy-secret", secret), ("x-forwarded-for", "192.0.2.7")], secrets)[
            "is_trusted"
        ]
    assert len(secrets) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        (b"", "has no secret; at least 16"),
        (b"short", "has a secret of 5 characters; at least 16"),
        (b"\xff" * 20, "cannot be read: it is not ASCII"),
    ],
)
def test_a_bad_secret_file_stops_the_start(tmp_path: Path, content: bytes | None, message: str):
    if content is not None:
        (tmp_path / "secret").write_bytes(content)

    with pytest.raises(ValueError, match=message):
        TrustedProxy(name="nginx", secret_file=str(tmp_path / "secret")).read_secrets()


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
    client = TestClient(ForwardedHeadersMiddleware(app), follow_redirects=False)

    assert client.get("/").headers["location"] == sent


def test_line_breaks_never_reach_a_url():
    sent: list[str] = []

    async def app(scope, receive, send):
        sent.append(f"{scope['path']} {scope['scheme']} {dict(scope['headers'])}")

    for name in PROXY:
        headers = [(name.encode(), b"/a\r\nset-cookie: b"), (b"host", b"testserver")]
        headers.append((b"x-skinserve-proxy-secret", SECRET.encode()))
        scope = {"type": "http", "path": "/seen", "scheme": "http", "headers": headers}
        asyncio.run(ForwardedHeadersMiddleware(app, secrets=[SECRET])(scope, None, None))  # pyright: ignore[reportArgumentType]

    assert sent == ["/seen http {b'host': b'testserver'}"] * 4


def test_the_api_works_under_the_prefix_of_a_trusted_proxy(trusted_proxy: TrustedProxy):
    app = fake_app(FakeModels(), gateway={"trusted_proxy": trusted_proxy.model_dump()})
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
