"""Access to the page: open, through the trusted proxy with its login, or off."""

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.runtime.forwarded_headers import TRUSTED_PROXY
from serve.runtime.security_headers import SecurityHeadersMiddleware
from serve.schemas import ErrorCode
from ui.config import Access
from ui.errors import PageError, error_response

_CLOSED: dict[Access, tuple[int, ErrorCode, str]] = {
    "off": (404, "not_found", "the page is off on this server; the API is at /v1, see /docs"),
    "proxy": (
        401,
        "unauthorized",
        "the page is open only through the proxy in front of this server; use the address of the proxy",
    ),
}


class AccessMiddleware:
    """Reject all requests to the page, or those that did not pass the trusted proxy."""

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self._app = app
        self._access: Access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on or reject one request, whatever its path and method."""
        passed_proxy = self._access == "proxy" and scope.get(TRUSTED_PROXY) is True
        if scope["type"] == "lifespan" or self._access == "open" or passed_proxy:
            return await self._app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        status, code, message = _CLOSED[self._access]
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        await error_response(PageError(status, code, message, headers))(scope, receive, send)


class SameOriginMiddleware:
    """Reject requests that a page of another origin makes a browser send, such as a form.

    Browsers name the origin's relation in ``Sec-Fetch-Site``; programs do not send it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on or reject one request; links from other sites (GET) pass."""
        is_change = scope["type"] == "http" and scope["method"] not in ("GET", "HEAD")
        if is_change and Headers(scope=scope).get("sec-fetch-site", "none") not in ("same-origin", "none"):
            message = "a page of another origin sent this request; programs use the API at /v1"
            return await error_response(PageError(403, "forbidden", message))(scope, receive, send)
        await self._app(scope, receive, send)


def closed_site() -> FastAPI:
    """Return the site of a page that is off; Gradio is not imported."""
    site = FastAPI(openapi_url=None)
    site.add_middleware(AccessMiddleware, access="off")
    site.add_middleware(SecurityHeadersMiddleware)
    return site
