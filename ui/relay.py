"""Relay requests of browsers to an API with keys: the page adds its key and the visitor's address.

Bodies stream through in both directions. They are never on a disk, and never in memory as a whole.
"""

import asyncio
import re
from collections.abc import AsyncIterator

import httpx
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect

from serve.runtime.forwarded_headers import CLIENT_ADDRESS
from serve.schemas import DEADLINE_HEADER
from ui.client import ApiClient
from ui.errors import PageError

ROUTES = (
    ("POST", "/v1/lesion"),
    ("POST", "/v1/progress"),
    ("GET", "/v1/models"),
    ("POST", "/v1/feedback"),
    ("DELETE", "/v1/feedback/{receipt}"),
)
_REQUEST_HEADERS = (
    "accept-language",
    "content-length",
    "content-type",
    "if-none-match",
    "x-request-id",
    DEADLINE_HEADER,
)
_RESPONSE_HEADERS = (
    "cache-control",
    "content-language",
    "content-length",
    "content-type",
    "etag",
    "retry-after",
    "vary",
    "www-authenticate",
    "x-request-id",
)
_RECEIPT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_RESPONSE_PREFIX = "ratelimit"  # RateLimit and RateLimit-Policy, or RateLimit-*


def add_relay(site: FastAPI, api: ApiClient) -> None:
    """Add the routes that the page's scripts need, and no other."""
    for method, path in ROUTES:
        site.add_api_route(path, _Relay(api, path), methods=[method], response_model=None)


class _Relay:
    def __init__(self, api: ApiClient, path: str) -> None:
        self._api = api
        self._path = path

    async def __call__(self, request: Request) -> Response:
        body = _Body(request)
        headers = {name: request.headers[name] for name in _REQUEST_HEADERS if name in request.headers}
        sending = asyncio.create_task(
            self._api.for_visitor(request.scope.get(CLIENT_ADDRESS)).stream(
                request.method,
                _fill(self._path, request),
                query=request.url.query,
                headers={"accept-encoding": "identity", **headers},
                content=body.chunks() if request.method == "POST" else None,
            )
        )
        leaving = asyncio.create_task(body.client_leaves())
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                raise ClientDisconnect
            response = sending.result()
        except httpx.HTTPError as error:
            raise _unreachable(error) from error
        finally:
            for task in (sending, leaving):
                task.cancel()  # without effect on a task that is done
            await asyncio.gather(sending, leaving, return_exceptions=True)
        return StreamingResponse(
            response.aiter_raw(),
            status_code=response.status_code,
            headers={name: value for name, value in response.headers.items() if _is_forwarded(name)},
            background=BackgroundTask(response.aclose),
        )


class _Body:
    """The body of a request, and the end of its connection after it."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._is_read = asyncio.Event()
        if request.method != "POST":
            self._is_read.set()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives; the API's connection sets the pace."""
        async for chunk in self._request.stream():
            if chunk:
                yield chunk
        self._is_read.set()

    async def client_leaves(self) -> None:
        """Wait until the client has closed the connection."""
        await self._is_read.wait()
        while (await self._request.receive())["type"] != "http.disconnect":
            continue


def _fill(path: str, request: Request) -> str:
    """Return a path with its receipt, which can have no part that means another path."""
    for value in request.path_params.values():
        if not _RECEIPT.fullmatch(value):
            raise PageError(404, "not_found", "there is no feedback with this receipt; check its letters")
    return path.format_map(request.path_params)


def _is_forwarded(name: str) -> bool:
    return name in _RESPONSE_HEADERS or name.startswith(_RESPONSE_PREFIX)


def _unreachable(error: httpx.HTTPError) -> PageError:
    if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
        return PageError(504, "deadline_exceeded", "the server did not answer in time; try again in a minute")
    message = "the server does not answer; if it is starting, try again in half a minute"
    return PageError(503, "overloaded", message, {"Retry-After": "5"})
