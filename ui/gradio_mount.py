"""Gradio's endpoints, imported at the first request for one of them.

Gradio takes 47 MB of memory and four seconds to import, and only programs with ``gradio_client`` need it.
"""

import asyncio
import contextlib
import re

from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ui.client import ApiClient
from ui.errors import PageError, error_response
from ui.request_body import read_body

_OPEN_PATHS = re.compile(
    r"/config/?$|"
    r"/gradio_api/(?:app_id|info|startup-events|theme\.css|heartbeat/[\w-]+|queue/(?:join|data)|run/\w+)/?$"
)
"""Of ``gradio_client``. Uploads would be written to a disk without a limit of their sum."""


class GradioMount:
    """Answer the calls of ``gradio_client``, and 404 to every other path.

    Args:
        api: a client of the API.
        max_body_bytes: of a call, whose photos are text in JSON.
    """

    def __init__(self, api: ApiClient, *, max_body_bytes: int) -> None:
        self._api = api
        self._max_body_bytes = max_body_bytes
        self._app: FastAPI | None = None
        self._loading = asyncio.Lock()
        self._lifespan = contextlib.AsyncExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"Gradio has no {scope['type']} here")
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if not _OPEN_PATHS.match(path):
            message = "the page has no such route; the API is at /v1, see /docs"
            return await error_response(PageError(404, "not_found", message))(scope, receive, send)
        if scope["method"] == "POST":
            try:
                body = await read_body(Request(scope, receive), max_bytes=self._max_body_bytes)
            except PageError as error:
                return await error_response(error)(scope, receive, send)
            except ClientDisconnect:
                return None
            receive = _replay(body, receive)
        await (await self._loaded())(scope, receive, send)

    async def close(self) -> None:
        """End Gradio's own tasks."""
        await self._lifespan.aclose()

    async def _loaded(self) -> ASGIApp:
        async with self._loading:
            if self._app is None:
                app = await asyncio.to_thread(_build, self._api)
                await self._lifespan.enter_async_context(app.router.lifespan_context(app))
                self._app = app
            return self._app


def _build(api: ApiClient) -> FastAPI:
    from ui.gradio_api import build_gradio

    return build_gradio(api)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` with a body that was read before."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
