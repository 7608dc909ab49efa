"""Undocumented interfaces of Gradio that the page uses; tried with Gradio 6.31.

``tests/ui/test_gradio_internals.py`` fails when Gradio changes any of it.
"""

import re

import gradio as gr
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

QUEUE_PAUSE_S = 0.1
_GRADIO_TAGS = re.compile(rb'<meta\s+(?:property="og:|name="twitter:)[^>]*>|<link rel="manifest"[^>]*>')


def lengthen_queue_pauses(page: gr.Blocks) -> None:
    """Make Gradio poll its queue every 0.1 s: its default, 1 ms, takes 4% of a core while idle."""
    page._queue.sleep_when_free = page._queue.progress_update_sleep_when_free = QUEUE_PAUSE_S


class ReplaceHeadTags:
    """Replace the manifest and the preview tags in Gradio's HTML document; other responses pass unchanged.

    With Gradio's tags a browser requests a manifest at the root of this host, which belongs to the API, and a
    link to the page is previewed as "Gradio" with a picture from another host. Gradio's parameter ``head``
    does not serve: it is inserted by JavaScript, after the browser has requested an icon at the root.
    """

    def __init__(self, app: ASGIApp, *, tags: bytes) -> None:
        """Wrap the page.

        Args:
            tags: HTML for the end of the document's head.
        """
        self._app = app
        self._tags = tags

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
                await self._send(start[0], bytes(body), send)

        await self._app({**scope, "headers": uncompressed}, receive, collect)

    async def _send(self, start: Message, body: bytes, send: Send) -> None:
        if Headers(raw=start["headers"]).get("content-type", "").startswith("text/html"):
            body = _GRADIO_TAGS.sub(b"", body).replace(b"</head>", self._tags + b"</head>", 1)
            MutableHeaders(raw=start["headers"])["content-length"] = str(len(body))
        await send(start)
        await send({"type": "http.response.body", "body": body})
