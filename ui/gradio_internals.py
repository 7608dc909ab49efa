"""Undocumented interfaces of Gradio that the page uses; tried with Gradio 6.31.

``tests/ui/test_gradio_internals.py`` fails when Gradio changes any of it.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import gradio as gr
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ui.errors import PageError, error_response
from ui.request_body import read_body

QUEUE_PAUSE_S = 0.1
_GRADIO_TAGS = re.compile(rb'<meta\s+(?:property="og:|name="twitter:)[^>]*>|<link rel="manifest"[^>]*>')

_HTML_LANGUAGE = re.compile(rb'(<html\s[^>]*?)lang="en"')
_BODY_TAG = re.compile(rb"<body\b[^>]*>")
_CLOSED_PATHS = re.compile(r"/(?:login|logout|manifest\.json|monitoring|pwa_icon|svelte|custom_component)\b")
_OPEN_API_PATHS = re.compile(
    r"/gradio_api/(?:app_id|info|startup-events|theme\.css|heartbeat/[\w-]+|queue/(?:join|data)|run/\w+)/?$"
)

_STOPPED = "Server stopped unexpectedly."
_SERVER_STOPPED = f'data: {{"msg":"{_STOPPED}","message":"{_STOPPED}","success":false}}\n\n'


@dataclass(frozen=True, kw_only=True)
class DocumentParts:
    """What the page adds to Gradio's document.

    Attributes:
        head: HTML for the end of the head.
        body: HTML for the start of the body.
        language: tag for the attribute ``lang``.
        direction: of writing, for the attribute ``dir``.
        labels: of the tabs, by the label in Gradio's configuration.
    """

    head: str
    body: str
    language: str
    direction: str
    labels: Mapping[str, str]


def lengthen_queue_pauses(page: gr.Blocks) -> None:
    """Make Gradio poll its queue every 0.1 s: its default, 1 ms, takes 4% of a core while idle."""
    page._queue.sleep_when_free = page._queue.progress_update_sleep_when_free = QUEUE_PAUSE_S


class CloseGradioRoutes:
    """Answer 404 to the routes of Gradio that the page does not need: uploads, files, proxies, deep links.

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

    def __init__(self, app: ASGIApp, *, page: gr.Blocks) -> None:
        self._app = app
        self._sessions = page._queue.pending_messages_per_session

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


class ReplaceHeadTags:
    """Replace the language, manifest and preview tags in Gradio's document; other responses pass unchanged.

    With Gradio's tags a browser requests a manifest at the root of this host, which belongs to the API, and a
    link to the page is previewed as "Gradio" with a picture from another host. Gradio's parameter ``head``
    does not serve: it is inserted by JavaScript, after the browser has requested an icon at the root.
    """

    def __init__(self, app: ASGIApp, *, parts: Callable[[Scope], DocumentParts]) -> None:
        """Wrap the page.

        Args:
            parts: returns the HTML for a request.
        """
        self._app = app
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        if scope["type"] != "http" or scope["path"].rstrip("/") != scope.get("root_path", "").rstrip("/"):
            await self._app(scope, receive, send)
            return
        uncompressed = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        start: list[Message] = []
        body = bytearray()

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.append(message)
                return
            body.extend(message.get("body", b""))
            if not message.get("more_body", False):
                await self._send(start[0], bytes(body), self._parts(scope), send)

        await self._app({**scope, "headers": uncompressed}, receive, collect)

    async def _send(self, start: Message, body: bytes, parts: DocumentParts, send: Send) -> None:
        if Headers(raw=start["headers"]).get("content-type", "").startswith("text/html"):
            body = _with_language(body, parts)
            body = _GRADIO_TAGS.sub(b"", body).replace(b"</head>", parts.head.encode() + b"</head>", 1)
            body = _BODY_TAG.sub(lambda tag: tag[0] + parts.body.encode(), body, count=1)
            MutableHeaders(raw=start["headers"])["content-length"] = str(len(body))
        await send(start)
        await send({"type": "http.response.body", "body": body})


def _with_language(body: bytes, parts: DocumentParts) -> bytes:
    """Set the language of the document and of the tabs' labels, which are in Gradio's configuration."""
    attributes = f'lang="{parts.language}" data-language="{parts.language}" dir="{parts.direction}"'
    body = _HTML_LANGUAGE.sub(rb"\1" + attributes.encode(), body, count=1)
    for label, translated in parts.labels.items():
        body = body.replace(_label(label), _label(translated))
    return body


def _label(text: str) -> bytes:
    return f'"label":{json.dumps(text, ensure_ascii=False)}'.encode()
