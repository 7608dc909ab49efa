"""Apply or remove the headers of a reverse proxy, for API and page.

Decision: docs/decisions/0021-reverse-proxies.md.
"""

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_REMOVED = re.compile(rb"forwarded|x-forwarded-.*|x-gradio-server")  # Gradio reads some of them by itself
_MAX_CHARS = 255
_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)+/?")
_PROTO = re.compile(r"https?")
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


class ForwardedHeadersMiddleware:
    """Apply prefix, scheme and host from a trusted proxy; remove the headers in any case.

    Code behind it reads all three from the ASGI scope. Values that are invalid, repeated or a list are
    ignored: they come from a client, past a proxy that does not overwrite them. Redirects within the server
    have no scheme and host, so that they also pass a proxy that is not trusted.
    """

    def __init__(self, app: ASGIApp, *, trusted: bool) -> None:
        """Wrap an application.

        Args:
            trusted: whether ``X-Forwarded-Prefix``, ``-Proto`` and ``-Host`` are applied.
        """
        self._app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        changes = _forwarded(scope) if self._trusted else {}
        scope = {**scope, **changes}
        scope["headers"] = [one for one in scope["headers"] if not _REMOVED.fullmatch(one[0])]
        origin = f"{scope.get('scheme', 'http')}://{Headers(scope=scope).get('host', '')}"

        async def send_relative(message: Message) -> None:
            if message["type"] == "http.response.start" and 300 <= message["status"] < 400:
                headers = MutableHeaders(raw=message["headers"])
                if headers.get("location", "").startswith(f"{origin}/"):
                    headers["location"] = headers["location"].removeprefix(origin)
            await send(message)

        await self._app(scope, receive, send_relative)


def _forwarded(scope: Scope) -> Scope:
    """Return the parts of the scope that valid headers of the proxy change."""
    changes: Scope = {}
    headers = Headers(scope=scope)
    if prefix := _valid(headers, "x-forwarded-prefix", _PREFIX):
        changes["root_path"] = prefix + scope.get("root_path", "")
        changes["path"] = prefix + scope["path"]
        if scope.get("raw_path") is not None:
            changes["raw_path"] = prefix.encode() + scope["raw_path"]
    if scheme := _valid(headers, "x-forwarded-proto", _PROTO):
        changes["scheme"] = scheme
    if host := _valid(headers, "x-forwarded-host", _HOST):
        others = [(name, value) for name, value in scope["headers"] if name != b"host"]
        changes["headers"] = [(b"host", host.encode()), *others]
    return changes


def _valid(headers: Headers, name: str, syntax: re.Pattern[str]) -> str | None:
    values = headers.getlist(name)
    if len(values) == 1 and len(values[0]) <= _MAX_CHARS and syntax.fullmatch(values[0]):
        return values[0].rstrip("/")
    return None
