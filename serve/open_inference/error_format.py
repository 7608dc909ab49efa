"""Rewrite error responses to the form of the Open Inference Protocol."""

import orjson
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.runtime.auth import route_path

PREFIX = "/v2"


class OpenInferenceErrorMiddleware:
    """Rewrite ``{"error": {"code", "message"}}`` to ``{"error": "code: message"}`` under ``/v2``.

    Clients of the protocol show only the text, so that it begins with the code.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on one request."""
        if scope["type"] != "http" or not is_open_inference(scope):
            return await self._app(scope, receive, send)
        held: list[Message] = []

        async def send_rewritten(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                held.append(message)
            elif held:
                held.append(message)
                if not message.get("more_body", False):
                    for one in _rewritten(held):
                        await send(one)
            else:
                await send(message)

        await self._app(scope, receive, send_rewritten)


def is_open_inference(scope: Scope) -> bool:
    """Return whether a request is one of the protocol."""
    path = route_path(scope)
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def _rewritten(messages: list[Message]) -> list[Message]:
    start, *parts = messages
    body = b"".join(part.get("body", b"") for part in parts)
    try:
        error = orjson.loads(body)["error"]
        body = orjson.dumps({"error": f"{error['code']}: {error['message']}"})
    except (orjson.JSONDecodeError, LookupError, TypeError):  # of HEAD, or not an error of ours
        return messages
    MutableHeaders(scope=start)["content-length"] = str(len(body))
    return [start, {"type": "http.response.body", "body": body}]
