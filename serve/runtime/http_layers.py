"""ASGI layers for HEAD requests, other origins, and request bodies that a response leaves unread."""

import asyncio
from functools import partial

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.limits import MAX_DRAIN_S, MAX_DRAINED_BYTES
from serve.schemas import DEADLINE_HEADER

cors = partial(
    CORSMiddleware,
    allow_methods=("GET", "HEAD", "POST"),
    allow_headers=("Content-Encoding", "X-Request-ID", DEADLINE_HEADER),
    expose_headers=("X-Request-ID", "Retry-After"),
)
"""Answer preflight requests, and let pages of ``allow_origins`` read responses."""


class HeadMiddleware:
    """Answer HEAD as GET without a body: load balancers and monitors send it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            return await self._app(scope, receive, send)

        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app({**scope, "method": "GET"}, receive, send_without_body)


class DrainMiddleware:
    """Read on, within bounds, when a response was sent before the request body was read.

    Many clients send the whole body before they read the response. If the connection is closed meanwhile
    (HTTP/1.0, ``Connection: close``), they get a reset in place of the response. Hence its end is sent when
    the body has arrived. The slot of the request is free by then.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on one request."""
        if scope["type"] != "http" or not _has_body(Headers(scope=scope)):
            return await self._app(scope, receive, send)
        body_ended = end_held = False

        async def receive_body() -> Message:
            nonlocal body_ended
            message = await receive()
            body_ended = body_ended or not message.get("more_body", False)
            return message

        async def send_all_but_the_end(message: Message) -> None:
            nonlocal end_held
            if message["type"] == "http.response.body" and not (message.get("more_body") or body_ended):
                end_held = True
                message = {**message, "more_body": True}
            await send(message)

        await self._app(scope, receive_body, send_all_but_the_end)
        if end_held:
            await _drain(receive)
            await send({"type": "http.response.body", "body": b""})


async def _drain(receive: Receive) -> None:
    left = MAX_DRAINED_BYTES
    try:
        async with asyncio.timeout(MAX_DRAIN_S):
            while left > 0:
                message = await receive()
                if not message.get("more_body", False):
                    return
                left -= len(message["body"])
    except TimeoutError:
        return


def _has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
