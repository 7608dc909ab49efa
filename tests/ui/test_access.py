import itertools
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve.runtime.forwarded_headers import TRUSTED_PROXY
from ui.access import AccessMiddleware, closed_site
from ui.config import UiConfig

PATHS = (
    "/ui",
    "/ui/",
    "/ui/config",
    "/ui/alive",
    "/ui/gradio_api/upload",
    "/ui/gradio_api/queue/join",
    "/ui/x",
)


async def page(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"the page"})


def client(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://skin.example")


async def test_a_page_that_is_off_answers_404_in_json_on_every_path():
    async with client(closed_site()) as http:
        for path, method in itertools.product(PATHS, ("GET", "POST", "PUT", "OPTIONS", "PROPFIND")):
            answer = await http.request(method, path)

            assert answer.status_code == 404 and answer.json()["error"]["code"] == "not_found"


async def test_a_page_behind_a_proxy_opens_to_it_only():
    closed = AccessMiddleware(page, access="proxy")

    async def through_proxy(scope: Any, receive: Any, send: Any) -> None:
        await closed({**scope, TRUSTED_PROXY: True}, receive, send)

    async with client(closed) as http:
        for path in PATHS:
            answer = await http.get(path, headers={"skinserve.trusted_proxy": "true"})
            assert answer.status_code == 401 and answer.json()["error"]["code"] == "unauthorized"
    async with client(through_proxy) as http:
        assert (await http.get("/ui/")).text == "the page"


@pytest.mark.parametrize("access", ["off", "proxy"])
async def test_a_websocket_of_a_closed_page_is_closed(access: Any):
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    await AccessMiddleware(page, access=access)({"type": "websocket", "path": "/ui/"}, receive, send)

    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_a_page_with_a_key_is_off_unless_access_is_stated():
    key = Path("page.key")

    assert UiConfig().page_access == "open"
    assert UiConfig(api_key_file=key).page_access == "off"
    assert UiConfig(api_key_file=key, access="open").page_access == "open"


def test_access_through_a_proxy_needs_the_proxy():
    with pytest.raises(ValueError, match="access: proxy needs trusted_proxy"):
        UiConfig(access="proxy")
