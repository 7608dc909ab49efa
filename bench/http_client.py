"""Minimal HTTP/1.1 client: requests are encoded once, responses parsed in C.

A load generator shares the cores with the server under test, so its own cost matters.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import httptools


@dataclass(frozen=True, kw_only=True)
class RequestTemplate:
    """One request that is sent repeatedly."""

    name: str
    path: str
    body: bytes
    """Empty: GET; else POST."""
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def encode(self, host: str) -> bytes:
        """Return the request as it goes over the wire."""
        lines = [f"{'POST' if self.body else 'GET'} {self.path} HTTP/1.1", f"Host: {host}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.body:
            lines += [f"Content-Type: {self.content_type}", f"Content-Length: {len(self.body)}"]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


@dataclass(frozen=True, kw_only=True)
class Response:
    """One response; headers and body only from a ``RecordingConnection``."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    """By lower-case name."""
    body: bytes = b""


class Connection(asyncio.Protocol):
    """Send one request at a time on one connection."""

    open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; called by the event loop."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it
        self._response: asyncio.Future[Response] | None = None
        self.open = True

    def send(self, request: bytes) -> "asyncio.Future[Response]":
        """Send an encoded request and return its future response."""
        self._parser = httptools.HttpResponseParser(self)
        self._response = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._response

    def close(self) -> None:
        """Close the connection at once."""
        self.open = False
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes; called by the event loop."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(error)

    def on_message_complete(self) -> None:
        """Complete the response; called by the parser.

        A response that arrives before the request has been sent completely ends the connection.
        """
        if not self._parser.should_keep_alive() or self._transport.get_write_buffer_size():
            self.close()
        if self._response is not None and not self._response.done():
            self._response.set_result(self._complete(self._parser.get_status_code()))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request in flight; called by the event loop."""
        self._fail(exc or ConnectionResetError("closed before the response was complete"))

    def _complete(self, status: int) -> Response:
        return Response(status=status)

    def _fail(self, error: Exception) -> None:
        self.open = False
        if self._response is not None and not self._response.done():
            self._response.set_exception(error)


class RecordingConnection(Connection):
    """Keep headers and body of each response too, at the cost of Python calls per chunk."""

    def send(self, request: bytes) -> "asyncio.Future[Response]":
        """Send an encoded request and return its future response."""
        self._headers: dict[str, str] = {}
        self._chunks: list[bytes] = []
        return super().send(request)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; called by the parser."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, chunk: bytes) -> None:
        """Keep a chunk of the body; called by the parser."""
        self._chunks.append(chunk)

    def _complete(self, status: int) -> Response:
        return Response(status=status, headers=self._headers, body=b"".join(self._chunks))
