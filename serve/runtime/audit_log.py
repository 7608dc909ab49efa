"""Audit log: time, caller, route and status of each request.

It contains nothing of a photo, a query or a key.

Decision: docs/decisions/0034-audit-log.md.
"""

import errno
import fcntl
import json
import logging
import os
import queue
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from logging.handlers import QueueListener
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.config import GatewayConfig
from serve.runtime.auth import PUBLIC_REQUESTS, ROLES_OF_PATH, ROLES_OF_PREFIX, route_path
from serve.runtime.callers import CALLER
from serve.runtime.rate_limits import client_name

MAX_QUEUED_LINES = 10_000
"""Limit while the disk does not answer. Further lines are lost, requests go on."""
UNKNOWN_CALLER = "unknown"
"""Caller of requests without a valid key on a server with keys."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})


class AuditLog:
    """Write lines from a thread of its own: no request waits for the disk."""

    def __init__(self, file: Path, *, max_bytes: int, num_files: int) -> None:
        """Open the file.

        Args:
            max_bytes: the file is rotated before it has more.
            num_files: rotated files that are kept.

        Raises:
            ValueError: the file cannot be opened.
        """
        try:
            self._handler = SharedFileHandler(file, max_bytes=max_bytes, num_files=num_files)
        except OSError as error:
            raise ValueError(
                f"the audit log {file} cannot be opened: {error.strerror}; name a file in a folder that "
                "exists and that the user of the server may write to"
            ) from error
        self._queue: queue.Queue[Any] = queue.Queue(MAX_QUEUED_LINES)
        self._listener = QueueListener(self._queue, self._handler)
        self._listener.start()

    def write(self, entry: Mapping[str, Any]) -> None:
        """Queue one line."""
        try:
            self._queue.put_nowait(logging.makeLogRecord({"msg": json.dumps(entry)}))
        except queue.Full:
            self._handler.count_lost("the disk does not answer")

    def close(self) -> None:
        """Write the queued lines and close the file."""
        self._listener.stop()
        self._handler.close()


class SharedFileHandler(logging.Handler):
    """Append lines to a file that all gateways of a machine write and rotate.

    A lock file beside it serializes them. A file that another process has renamed is opened again, so that
    logrotate works, too. A line that does not fit on the disk is removed again.
    """

    def __init__(self, file: Path, *, max_bytes: int, num_files: int) -> None:
        super().__init__()
        self._file = file
        self._max_bytes = max_bytes
        self._num_files = num_files
        self._num_lost = 0
        self._lock_fd = _open(Path(f"{file}.lock"))
        self._fd = _open(file)

    def emit(self, record: logging.LogRecord) -> None:
        """Append one line; log the first failure and the end of the failures."""
        try:
            with self._locked():
                if self._num_lost:
                    self._append(json.dumps({"time": utc_now(), "lost_lines": self._num_lost}))
                    logging.getLogger("skinserve").warning(
                        "the audit log %s is written again; %d lines are missing", self._file, self._num_lost
                    )
                    self._num_lost = 0
                self._append(record.getMessage())
        except OSError as error:
            self.count_lost(error.strerror or str(error))

    def count_lost(self, reason: str) -> None:
        """Count a line that cannot be written; log the first one."""
        self._num_lost += 1
        if self._num_lost == 1:
            logging.getLogger("skinserve").error(
                "the audit log %s cannot be written: %s; requests go on and are not in it", self._file, reason
            )

    def close(self) -> None:
        """Close the files."""
        super().close()
        for descriptor in (self._fd, self._lock_fd):
            with suppress(OSError):
                os.close(descriptor)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    def _append(self, line: str) -> None:
        data = f"{line}\n".encode()
        self._reopen_if_renamed()
        size = os.fstat(self._fd).st_size
        if size and size + len(data) > self._max_bytes:
            self._rotate()
            size = 0
        if os.write(self._fd, data) < len(data):
            os.ftruncate(self._fd, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _reopen_if_renamed(self) -> None:
        try:
            is_current = os.path.samestat(os.stat(self._file), os.fstat(self._fd))
        except FileNotFoundError:
            is_current = False
        if not is_current:
            self._reopen()

    def _rotate(self) -> None:
        for number in range(self._num_files - 1, 0, -1):
            with suppress(FileNotFoundError):
                os.replace(f"{self._file}.{number}", f"{self._file}.{number + 1}")
        os.replace(self._file, f"{self._file}.1")
        self._reopen()

    def _reopen(self) -> None:
        descriptor = _open(self._file)
        os.close(self._fd)
        self._fd = descriptor


class AuditMiddleware:
    """Write a line at the end of each response, except those of health checks."""

    def __init__(self, app: ASGIApp, log: AuditLog, *, needs_key: bool) -> None:
        self._app = app
        self._log = log
        self._needs_key = needs_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        path = route_path(scope)  # routing changes the scope
        if (scope["method"], path) in PUBLIC_REQUESTS:
            return await self._app(scope, receive, send)
        arrived, start = utc_now(), time.monotonic()
        status: int | None = None

        async def send_and_record_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_record_status)
        finally:
            entry = {
                "time": arrived,
                "caller": self._caller_name(scope),
                "method": scope["method"] if scope["method"] in _METHODS else "other",
                "route": scope["route"].path if "route" in scope else route_template(path),
                "status": status,
                "request_id": Headers(scope=scope).get("x-request-id"),
                "duration_s": round(time.monotonic() - start, 3),
            }
            self._log.write(entry)

    def _caller_name(self, scope: Scope) -> str:
        if CALLER in scope:
            return scope[CALLER].name
        return UNKNOWN_CALLER if self._needs_key else client_name(scope)


def open_audit_log(config: GatewayConfig) -> AuditLog | None:
    """Open the audit log of a gateway; None: nothing is logged.

    Raises:
        ValueError: the file cannot be opened.
    """
    if config.audit_log is None:
        return None
    return AuditLog(
        Path(config.audit_log), max_bytes=config.audit_log_max_bytes, num_files=config.audit_log_files
    )


def route_template(path: str) -> str | None:
    """Return the declared route of a request that was not routed; None without one."""
    if path in ROLES_OF_PATH:
        return path
    return next((f"{prefix}{{path}}" for prefix in ROLES_OF_PREFIX if path.startswith(prefix)), None)


def utc_now() -> str:
    """Return the time in ISO 8601, with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _open(file: Path) -> int:
    """Open a file to append; only the user of the server may read it."""
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor
