"""Access to the page: open, through the trusted proxy with its login, or off."""

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.runtime.forwarded_headers import TRUSTED_PROXY
from serve.runtime.security_headers import SecurityHeadersMiddleware
from serve.schemas import ErrorBody, ErrorCode, ErrorDetail
from ui.config import Access

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
        body = ErrorBody(error=ErrorDetail(code=code, message=message)).model_dump()
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        await JSONResponse(body, status_code=status, headers=headers)(scope, receive, send)


def closed_site() -> FastAPI:
    """Return the site of a page that is off; Gradio is not imported."""
    site = FastAPI(openapi_url=None)
    site.add_middleware(AccessMiddleware, access="off")
    site.add_middleware(SecurityHeadersMiddleware)
    return site
