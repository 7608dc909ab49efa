"""The HTML document around the page: Gradio's own, with what it says about Gradio taken out.

Gradio has no setting for this. Left alone, a browser asks the API, which owns the root of this host, for a
manifest and an icon that are not there, and a link to the page is previewed as "Gradio" with a picture from
another host.
"""

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NOT_OURS = re.compile(rb'<meta\s+(?:property="og:|name="twitter:)[^>]*>|<link rel="manifest"[^>]*>')
_ICON = (
    "%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'"
    " fill='none' stroke='%230b6a6a' stroke-width='3'%3E"
    "%3Ccircle cx='16' cy='16' r='14'/%3E%3Ccircle cx='16' cy='16' r='7' fill='%230b6a6a'/%3E%3C/svg%3E"
)
_OURS = f"""<link rel="icon" href="data:image/svg+xml,{_ICON}">
<meta name="description" content="Research software, not a medical device, for two questions about skin.">
<meta name="robots" content="noindex"><meta name="referrer" content="no-referrer"></head>""".encode()


class OwnDocument:
    """ASGI middleware around the page; every response but the one HTML document passes as it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"].rstrip("/") != scope.get("root_path", "").rstrip("/"):
            await self._app(scope, receive, send)
            return
        plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        held: list[Message] = []
        body = bytearray()

        async def hold(message: Message) -> None:
            if message["type"] == "http.response.start":
                held.append(message)
                return
            body.extend(message.get("body", b""))
            if not message.get("more_body", False):
                await _send_all(held[0], bytes(body), send)

        await self._app({**scope, "headers": plain}, receive, hold)


async def _send_all(start: Message, body: bytes, send: Send) -> None:
    if Headers(raw=start["headers"]).get("content-type", "").startswith("text/html"):
        body = _NOT_OURS.sub(b"", body).replace(b"</head>", _OURS, 1)
        MutableHeaders(raw=start["headers"])["content-length"] = str(len(body))
    await send(start)
    await send({"type": "http.response.body", "body": body})
