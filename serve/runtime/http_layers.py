"""ASGI layers for HEAD requests, other origins, and request bodies that a response leaves unread."""

import asyncio
from functools import partial

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.limits import MAX_DRAIN_PAUSE_S, MAX_DRAIN_S, MAX_DRAINED_BYTES
from serve.schemas import API_KEY_HEADER, DEADLINE_HEADER

cors = partial(
    CORSMiddleware,
    allow_methods=("GET", "HEAD", "POST", "DELETE"),
    allow_headers=("Authorization", "Content-Encoding", API_KEY_HEADER, "X-Request-ID", DEADLINE_HEADER),
    expose_headers=(
        "X-Request-ID",
        "Retry-After",
        "RateLimit-Limit",
        "RateLimit-Remaining",
        "RateLimit-Reset",
    ),
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
    """Send the error response to an unread body when the body has arrived, within bounds.

    Many clients send the whole body before they read. If the connection is closed meanwhile (HTTP/1.0,
    ``Connection: close``), they get a reset in place of the response. Of responses that overtook the body,
    curl sometimes lost the end. The slot of the request is free while the body is drained.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on one request."""
        if scope["type"] != "http" or not _has_body(Headers(scope=scope)):
            return await self._app(scope, receive, send)
        body_ended = False
        held: list[Message] = []

        async def receive_body() -> Message:
            nonlocal body_ended
            message = await receive()
            body_ended = body_ended or not message.get("more_body", False)
            return message

        async def send_or_hold(message: Message) -> None:
            if held or (message.get("status", 0) >= 400 and not body_ended):
                held.append(message)
            else:
                await send(message)

        await self._app(scope, receive_body, send_or_hold)
        if held:
            await _drain(receive)
        for message in held:
            await send(message)


async def _drain(receive: Receive) -> None:
    due = asyncio.get_running_loop().time() + MAX_DRAIN_S
    left = MAX_DRAINED_BYTES
    try:
        while left > 0:
            now = asyncio.get_running_loop().time()
            async with asyncio.timeout_at(min(due, now + MAX_DRAIN_PAUSE_S)):
                message = await receive()
            if not message.get("more_body", False):
                return
            left -= len(message["body"])
    except TimeoutError:
        return


def _has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
