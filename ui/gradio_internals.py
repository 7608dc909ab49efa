"""Undocumented interfaces of Gradio that the page uses; tried with Gradio 6.31.

``tests/ui/test_gradio_internals.py`` fails when Gradio changes any of it.
"""

import re

import gradio as gr
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ui.errors import PageError, error_response
from ui.request_body import read_body

QUEUE_PAUSE_S = 0.1
_CLOSED_PATHS = re.compile(
    r"/(?:assets|custom_component|login|logout|manifest\.json|monitoring|pwa_icon|svelte|theme\.css)\b"
)
_OPEN_API_PATHS = re.compile(
    r"/gradio_api/(?:app_id|info|startup-events|theme\.css|heartbeat/[\w-]+|queue/(?:join|data)|run/\w+)/?$"
)

_STOPPED = "Server stopped unexpectedly."
_SERVER_STOPPED = f'data: {{"msg":"{_STOPPED}","message":"{_STOPPED}","success":false}}\n\n'


def lengthen_queue_pauses(blocks: gr.Blocks) -> None:
    """Make Gradio poll its queue every 0.1 s: its default, 1 ms, takes 4% of a core while idle."""
    blocks._queue.sleep_when_free = blocks._queue.progress_update_sleep_when_free = QUEUE_PAUSE_S


class CloseGradioRoutes:
    """Answer 404 to the routes of Gradio that the page does not need: its front end, uploads, files, proxies.

    Uploads would be written to a disk without a limit of their sum.
    """

    def __init__(self, app: ASGIApp, *, max_body_bytes: int) -> None:
        """Wrap the page.

        Args:
            max_body_bytes: of a call by ``gradio_client``, whose photos are text in JSON.
        """
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        path = scope["path"].removeprefix(scope.get("root_path", "")) if scope["type"] == "http" else ""
        if _CLOSED_PATHS.match(path) or (path.startswith("/gradio_api/") and not _OPEN_API_PATHS.match(path)):
            message = "the page has no such route; the API is at /v1, see /docs"
            return await error_response(PageError(404, "not_found", message))(scope, receive, send)
        if not path.startswith("/gradio_api/") or scope["method"] != "POST":
            return await self._app(scope, receive, send)
        try:
            body = await read_body(Request(scope, receive), max_bytes=self._max_body_bytes)
        except PageError as error:
            return await error_response(error)(scope, receive, send)
        except ClientDisconnect:
            return None
        await self._app(scope, _replay(body, receive), send)


class RejectUnknownSessions:
    """End the stream of a session that another process holds, so that ``gradio_client`` raises an error.

    A call of ``gradio_client`` is two requests, which can reach two replicas of the page. Gradio would log a
    traceback, and the call would be cancelled without a message.
    """

    def __init__(self, app: ASGIApp, *, blocks: gr.Blocks) -> None:
        self._app = app
        self._sessions = blocks._queue.pending_messages_per_session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        if scope["type"] == "http" and scope["path"].endswith("/gradio_api/queue/data"):
            if Request(scope).query_params.get("session_hash", "") not in self._sessions:
                response = Response(_SERVER_STOPPED, media_type="text/event-stream")
                return await response(scope, receive, send)
        await self._app(scope, receive, send)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` with a body that was read before."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
