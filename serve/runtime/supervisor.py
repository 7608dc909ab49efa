"""Watches over the server process of one machine: says how far it is, and leaves nothing behind when it ends.

Ray starts a dozen processes, and some outlive a parent that is killed. On Linux the supervisor becomes the
parent of every orphan among them, so that it finds and ends all of them, at any moment of the start too.
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

from serve.runtime.server_process import EXIT_BAD_CONFIG, EXIT_DEPLOY_FAILED, FAILURE, PROGRESS
from serve.schemas import Health

STOP_TIMEOUT_S = 6.0
"""How long requests in work may take after Ctrl-C; then everything is killed, during the start at once."""
START_TIMEOUT_S = 600.0
PROBE_TIMEOUT_S = 3.0
KILL_TIMEOUT_S = 5.0
MAX_ATTEMPTS = 3
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends the server, in order."""
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, kw_only=True)
class Start:
    """What one start of the server needs."""

    command: list[str]
    environment: Mapping[str, str]
    home: Path
    """Everything that the server writes lies here; deleted at the end."""
    host: str
    """Where this machine reaches the server."""
    port: int


class Supervisor:
    """Runs one server process and all that it starts."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._server: subprocess.Popen[bytes] | None = None
        self._log = start.home / "server.log"
        self._said = ""
        self._was_ready = False
        self._num_signals = 0

    def run(self) -> int:
        """Start, announce, wait, clear up.

        Returns:
            The exit code for the shell: 0 after Ctrl-C or SIGTERM, 1 when the server failed.
        """
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
        for number in SIGNALS:
            signal.signal(number, self._note_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        try:
            if self._come_up():
                self._stay_up()
        finally:
            self._end_all()
            self._clean_up()
        return 0 if self._num_signals else 1

    def _note_signal(self, *_: object) -> None:
        self._num_signals += 1

    def _come_up(self) -> bool:
        for attempt in range(1, MAX_ATTEMPTS + 1):
            self._spawn()
            if self._wait_until_ready():
                return True
            if self._num_signals:
                return False
            code = self._server.poll() if self._server else None
            reason = self._last_line()
            if code in (EXIT_BAD_CONFIG, EXIT_DEPLOY_FAILED) or attempt == MAX_ATTEMPTS:
                say(f"the server did not start: {reason} (logs: {self._start.home})")
                return False
            say(f"Ray did not come up ({reason}); trying again, {attempt + 1} of {MAX_ATTEMPTS}")
            self._end_all()
        return False

    def _spawn(self) -> None:
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(
                self._start.command,
                env=dict(self._start.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the supervisor alone, which ends the server in order
            )

    def _wait_until_ready(self) -> bool:
        began = time.monotonic()
        while self._alive():
            waiting_for = self._missing()
            if not waiting_for:
                return True
            self._say_once(waiting_for)
            if time.monotonic() - began > START_TIMEOUT_S:
                say(f"not ready after {START_TIMEOUT_S:.0f} s")
                return False
            time.sleep(0.5)
        return False

    def _stay_up(self) -> None:
        self._was_ready = True
        url = f"http://{self._start.host}:{self._start.port}"
        say(f"ready: {url}/ui/ is the page, {url}/docs the API; Ctrl-C stops it")
        while self._alive():
            time.sleep(0.5)
        if not self._num_signals:
            say(f"the server ended by itself: {self._last_line()} (logs: {self._start.home})")

    def _alive(self) -> bool:
        return not self._num_signals and self._server is not None and self._server.poll() is None

    def _missing(self) -> str:
        """Name what does not answer yet; empty when all does."""
        status, body = self._get("/readyz")
        if status == 503:
            try:
                return f"waiting for {', '.join(Health.model_validate_json(body).waiting_for)} to answer"
            except ValueError:  # not ours but a proxy's
                return self._last_line()
        if status != 200:
            return self._last_line()
        return "" if self._get("/ui/")[0] == 200 else "waiting for the page"

    def _get(self, path: str) -> tuple[int, bytes]:
        host = self._start.host.strip("[]")
        connection = http.client.HTTPConnection(host, self._start.port, timeout=PROBE_TIMEOUT_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def _last_line(self) -> str:
        lines = (
            self._log.read_text(encoding="utf-8", errors="replace").splitlines() if self._log.exists() else []
        )
        code = self._server.poll() if self._server else None
        if code is None:
            return _last_with(PROGRESS, lines) or "importing Ray"
        return _last_with(FAILURE, lines) or (lines[-1][:300] if lines else f"exit code {code}")

    def _say_once(self, line: str) -> None:
        if line != self._said:
            self._said = line
            say(line)

    def _end_all(self) -> None:
        """End the server, and then every process that it has left."""
        if self._server is not None and self._server.poll() is None:
            if self._num_signals:
                say("stopping")
            if self._was_ready:
                self._server.terminate()
            until = time.monotonic() + (STOP_TIMEOUT_S if self._was_ready else 0)
            while self._server.poll() is None and time.monotonic() < until and self._num_signals < 2:
                time.sleep(0.05)
        me = psutil.Process()
        until = time.monotonic() + KILL_TIMEOUT_S
        while (left := me.children(recursive=True)) and time.monotonic() < until:
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(left, timeout=1)
            _reap()

    def _clean_up(self) -> None:
        """Delete what the server wrote; when it failed, its logs stay, but never a photo."""
        home = self._start.home
        for folder in [home] if self._num_signals else [home / "uploads", home / "tmp"]:
            shutil.rmtree(folder, ignore_errors=True)


def say(line: str) -> None:
    """Print one line of progress; a terminal that has gone is no reason to fail."""
    with contextlib.suppress(OSError):
        print(f"skinserve: {line}", flush=True)


def _last_with(mark: str, lines: list[str]) -> str:
    return next((line.removeprefix(mark) for line in reversed(lines) if line.startswith(mark)), "")


def _reap() -> None:
    """Take the exit codes of orphans that were handed to us."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
