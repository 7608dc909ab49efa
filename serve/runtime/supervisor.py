"""Supervise the server process of one machine: report its start, restart it if Ray fails, clean up.

Ray starts a dozen processes, and some outlive a parent that is killed. On Linux the supervisor is the parent
of orphaned descendants (a "child subreaper"), so it can end all of them at any time, even during the start.
"""

import contextlib
import ctypes
import http.client
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from serve.runtime.page_key import PAGE_ACCESS_PREFIX
from serve.runtime.server_process import (
    EXIT_BAD_CONFIG,
    EXIT_DEPLOY_FAILED,
    FAILURE,
    NO_PAGE,
    NOTICE,
    PROGRESS,
)
from serve.schemas import Health

STOP_TIMEOUT_S = 6.0
"""For requests in progress after Ctrl-C; then all processes are killed. During the start: at once."""
START_TIMEOUT_S = 600.0
PROBE_TIMEOUT_S = 3.0
KILL_TIMEOUT_S = 5.0
MAX_ATTEMPTS = 3
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Each of them stops the server."""
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, kw_only=True)
class LaunchSpec:
    """Define how the server process is started and where it answers."""

    command: list[str]
    environment: Mapping[str, str]
    home: Path
    """Folder of all files that the server writes; deleted at the end."""
    host: str
    """Address at which this machine reaches the server."""
    port: int


class Supervisor:
    """Run one server process and end all its descendants."""

    def __init__(self, spec: LaunchSpec) -> None:
        self._spec = spec
        self._server: subprocess.Popen[bytes] | None = None
        self._log = spec.home / "server.log"
        self._last_status = ""
        self._was_ready = False
        self._num_signals = 0

    def run(self) -> int:
        """Start the server, wait until it ends or a signal comes, and clean up.

        Returns:
            The exit code for the shell: 0 after Ctrl-C or SIGTERM, 1 when the server failed.
        """
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
        for number in STOP_SIGNALS:
            signal.signal(number, self._count_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        try:
            if self._start_with_retries():
                self._wait_until_stopped()
        finally:
            self._kill_all()
            self._delete_files()
        return 0 if self._num_signals else 1

    def _count_signal(self, *_: object) -> None:
        self._num_signals += 1

    def _start_with_retries(self) -> bool:
        for attempt in range(1, MAX_ATTEMPTS + 1):
            self._spawn()
            if self._wait_until_ready():
                return True
            if self._num_signals:
                return False
            code = self._server.poll() if self._server else None
            reason = self._status()
            if code in (EXIT_BAD_CONFIG, EXIT_DEPLOY_FAILED) or attempt == MAX_ATTEMPTS:
                print_status(f"the server did not start: {reason} (logs: {self._spec.home})")
                return False
            print_status(f"Ray did not start ({reason}); attempt {attempt + 1} of {MAX_ATTEMPTS}")
            self._kill_all()
        return False

    def _spawn(self) -> None:
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(
                self._spec.command,
                env=dict(self._spec.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the supervisor alone, which ends the server in order
            )

    def _wait_until_ready(self) -> bool:
        start = time.monotonic()
        while self._alive():
            pending = self._pending()
            if not pending:
                return True
            self._print_once(pending)
            if time.monotonic() - start > START_TIMEOUT_S:
                print_status(f"not ready after {START_TIMEOUT_S:.0f} s")
                return False
            time.sleep(0.5)
        return False

    def _wait_until_stopped(self) -> None:
        self._was_ready = True
        url = f"http://{self._spec.host}:{self._spec.port}"
        for line in self._notices():
            print_status(line)
        has_page = NO_PAGE not in self._notices() and self._get("/ui/")[0] == 200
        page = f"{url}/ui/ is the page, " if has_page else ""
        print_status(f"ready: {page}{url}/docs the API; logs in {self._spec.home}; Ctrl-C stops it")
        while self._alive():
            time.sleep(0.5)
        if not self._num_signals:
            print_status(f"the server ended unexpectedly: {self._status()} (logs: {self._spec.home})")

    def _alive(self) -> bool:
        return not self._num_signals and self._server is not None and self._server.poll() is None

    def _pending(self) -> str:
        """Return what does not answer yet, or an empty string."""
        status, body = self._get("/readyz")
        if status == 503:
            try:
                return f"waiting for {', '.join(Health.model_validate_json(body).waiting_for)} to answer"
            except ValueError:  # the response is the proxy's
                return self._status()
        if status != 200:
            return self._status()
        if NO_PAGE in self._notices():
            return ""
        status, body = self._get("/ui/")
        return "" if status == 200 or PAGE_ACCESS_PREFIX.encode() in body else "waiting for the page"

    def _get(self, path: str) -> tuple[int, bytes]:
        host = self._spec.host.strip("[]")
        connection = http.client.HTTPConnection(host, self._spec.port, timeout=PROBE_TIMEOUT_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def _status(self) -> str:
        """Return the last progress or failure that the server reported."""
        lines = self._log_lines()
        code = self._server.poll() if self._server else None
        if code is None:
            return _last_with_prefix(PROGRESS, lines) or "importing Ray"
        return _last_with_prefix(FAILURE, lines) or (lines[-1][:300] if lines else f"exit code {code}")

    def _notices(self) -> list[str]:
        """Return the notices of the server process about its settings."""
        lines = self._log_lines()
        return list(dict.fromkeys(line.removeprefix(NOTICE) for line in lines if line.startswith(NOTICE)))

    def _log_lines(self) -> list[str]:
        return (
            self._log.read_text(encoding="utf-8", errors="replace").splitlines() if self._log.exists() else []
        )

    def _print_once(self, line: str) -> None:
        if line != self._last_status:
            self._last_status = line
            print_status(line)

    def _kill_all(self) -> None:
        """Stop the server if it was ready, then kill every descendant."""
        if self._server is not None and self._server.poll() is None:
            if self._num_signals:
                print_status("stopping")
            if self._was_ready:
                self._server.terminate()
            until = time.monotonic() + (STOP_TIMEOUT_S if self._was_ready else 0)
            while self._server.poll() is None and time.monotonic() < until and self._num_signals < 2:
                time.sleep(0.05)
        supervisor = psutil.Process()
        until = time.monotonic() + KILL_TIMEOUT_S
        while (left := supervisor.children(recursive=True)) and time.monotonic() < until:
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(left, timeout=1)
            _reap()

    def _delete_files(self) -> None:
        """Delete the server's files; after a failure keep its logs, but never a photo."""
        home = self._spec.home
        for folder in [home] if self._num_signals else [home / "tmp"]:
            shutil.rmtree(folder, ignore_errors=True)


def print_status(line: str) -> None:
    """Print a status line; ignore a closed terminal."""
    with contextlib.suppress(OSError):
        print(f"skinserve: {line}", flush=True)


def _last_with_prefix(prefix: str, lines: list[str]) -> str:
    return next((line.removeprefix(prefix) for line in reversed(lines) if line.startswith(prefix)), "")


def _reap() -> None:
    """Reap orphans that ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
