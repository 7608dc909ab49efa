"""Security headers of the responses of API and page.

``Strict-Transport-Security`` belongs to the proxy that has the certificate (docs/operations.md).
"""

import re
from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

API_POLICY = "default-src 'none'; frame-ancestors 'none'"
"""Content security policy of JSON responses."""
_ORIGIN = re.compile(
    r"(?!http:.*:80$)(?!https:.*:443$)https?://([a-z0-9._-]+|\[[0-9a-f:]+\])(:[0-9]+)?",
)
"""Origin in the form that browsers send."""


class SecurityHeadersMiddleware:
    """Add headers that the response has not set itself.

    Args:
        policy: ``Content-Security-Policy``.
        frame_options: ``X-Frame-Options``, for browsers that do not read ``frame-ancestors``.
        cacheable: prefixes of paths whose responses browsers may store; others may contain health data.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        policy: str = API_POLICY,
        frame_options: str | None = "DENY",
        cacheable: Sequence[str] = (),
    ) -> None:
        self._app = app
        self._headers = {
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Content-Security-Policy": policy,
        }
        if frame_options is not None:
            self._headers["X-Frame-Options"] = frame_options
        self._cacheable = tuple(cacheable)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        is_cacheable = scope["path"].removeprefix(scope.get("root_path", "")).startswith(self._cacheable)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                if not is_cacheable:
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers)


def check_origin(origin: str) -> None:
    """Raise ``ValueError`` unless the text is an origin in the form that browsers send."""
    if not _ORIGIN.fullmatch(origin):
        raise ValueError(
            f"{origin!r} is no origin; write scheme and host in lower case, without a path, a port "
            "only if it is not the default: https://clinic.example"
        )
