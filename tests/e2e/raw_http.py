"""Requests as bytes: clients and libraries would repair or refuse most of those that attackers send."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

TIMEOUT_S = 15
MAX_CONNECTIONS = 16


@dataclass(frozen=True)
class Answer:
    """What came back until the connection was closed or 15 s had passed; status 0: nothing."""

    status: int
    headers: str
    body: bytes


def request(
    method: str, path: str, headers: Mapping[str, str] | Iterable[tuple[str, str]] = (), body: bytes = b""
) -> bytes:
    """Write a request as it is, without a check or an escape."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    lines = "".join(f"{name}: {value}\r\n" for name, value in pairs)
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{length}{lines}\r\n"
    return head.encode("latin-1") + body


async def send_all(port: int, requests: Mapping[str, bytes]) -> dict[str, Answer]:
    """Send each request over a connection of its own; return the answers by name."""
    free = asyncio.Semaphore(MAX_CONNECTIONS)

    async def send(content: bytes) -> Answer:
        async with free:
            return await _send(port, content)

    answers = await asyncio.gather(*map(send, requests.values()))
    return dict(zip(requests, answers, strict=True))


async def _send(port: int, content: bytes) -> Answer:
    received = b""
    writer = None
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(content)
            while chunk := await reader.read(65_536):
                received += chunk
    except (ConnectionError, TimeoutError):
        pass  # an answer may have come before
    finally:
        if writer is not None:
            writer.close()
    head, _, body = received.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100 "):
        head, _, body = body.partition(b"\r\n\r\n")
    status = int(head.split()[1]) if head.startswith(b"HTTP/1.") else 0
    return Answer(status=status, headers=head.decode("latin-1").lower(), body=body)
