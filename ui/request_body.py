"""Read request bodies into memory within limits of size and time."""

import asyncio

from starlette.requests import Request

from ui.errors import PageError

_TIMEOUT_S = 60.0


async def read_body(request: Request, *, max_bytes: int, timeout_s: float = _TIMEOUT_S) -> bytes:
    """Read a whole body.

    Args:
        max_bytes: checked by ``Content-Length`` before reading, and while reading.
        timeout_s: for the whole body.

    Raises:
        PageError: ``too_large`` or ``deadline_exceeded``.
        ClientDisconnect: the client left.
    """
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_bytes:
                    raise _too_large(max_bytes)
    except TimeoutError as error:
        message = f"the body did not arrive within {timeout_s:g} s; send it again"
        raise PageError(408, "deadline_exceeded", message) from error
    return bytes(body)


def _too_large(max_bytes: int) -> PageError:
    found = f"the body is larger than {max_bytes / 1e6:g} MB"
    return PageError(413, "too_large", f"{found}; send a smaller one", {"Connection": "close"})
