"""Run decoders of C libraries in helper processes: their crash must not end this process.

A helper starts with the first photo, serves many, and ends with this process. Measurements:
docs/decisions/0019-photo-formats.md.
"""

import atexit
import contextlib
import logging
import os
import pickle
import resource
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import IO, Any, TypeVar

from models.image_files.errors import PhotoError, UnreadableImageError
from models.limits import MAX_DECODE_S, MAX_HELPER_BYTES

MAX_HELPERS = max(2, os.cpu_count() or 1)
"""Helpers of one process; further photos wait."""

_T = TypeVar("_T")
_LENGTH = struct.Struct("<Q")


class _KilledError(UnreadableImageError):
    """Report a helper that was killed; its photo is not the cause."""


class HelperProcesses:
    """Pool of helpers: each calling thread uses an idle one, or starts one."""

    def __init__(self) -> None:
        self._idle: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(MAX_HELPERS)

    def run(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Run a function of a module in a helper; once more if another process killed the helper.

        Raises:
            PhotoError: raised by the function.
            UnreadableImageError: the helper crashed, or exceeded its time or memory.
        """
        with self._free:
            try:
                result = self._run((function, arguments))
            except _KilledError:  # by the kernel, short of memory, for example
                result = self._run((function, arguments))
        if isinstance(result, PhotoError):
            raise result
        return result

    def _run(self, call: Any) -> Any:
        helper = self._take()
        try:
            result = _exchange(helper, call)
        except (OSError, EOFError) as error:
            raise _failure(_end(helper)) from error
        except BaseException:
            helper.kill()
            _end(helper)
            raise
        with self._lock:
            self._idle.append(helper)
        return result

    def _take(self) -> subprocess.Popen[bytes]:
        """Return an idle helper that is alive, or a new one."""
        with self._lock:
            while self._idle:
                helper = self._idle.pop()
                if helper.poll() is None:
                    return helper
                _end(helper)
            return _start()

    def close(self) -> None:
        """End the idle helpers."""
        with self._lock:
            while self._idle:
                _end(self._idle.pop())


_helpers = HelperProcesses()


def run_isolated(function: Callable[..., _T], *arguments: Any) -> _T:
    """Run a function in one of the helpers of this process; see ``HelperProcesses.run``."""
    return _helpers.run(function, *arguments)


def _drop_helpers() -> None:
    """Leave the helpers to the parent after a fork."""
    global _helpers
    _helpers = HelperProcesses()


os.register_at_fork(after_in_child=_drop_helpers)
atexit.register(lambda: _helpers.close())


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-W", "ignore", "-m", "models.image_files.helper_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
        start_new_session=True,  # Ctrl-C reaches the parent alone, and its end closes the pipe
    )


def _end(helper: subprocess.Popen[bytes]) -> int:
    """Close the pipes, which ends an idle helper, and return its exit status."""
    for pipe in (helper.stdin, helper.stdout):
        with contextlib.suppress(OSError):  # bytes that a dead helper did not read
            assert pipe is not None
            pipe.close()
    return helper.wait()


def _exchange(helper: subprocess.Popen[bytes], call: Any) -> Any:
    assert helper.stdin is not None and helper.stdout is not None
    _send(helper.stdin, call)
    return _receive(helper.stdout)


def _failure(status: int) -> UnreadableImageError:
    advice = "save the photo as JPEG and send that"
    if status == -signal.SIGALRM:
        return UnreadableImageError(f"decoding the photo takes more than {MAX_DECODE_S} seconds; {advice}")
    if status == -signal.SIGKILL:
        return _KilledError(f"the decoder of the photo was killed twice; try again later, or {advice}")
    return UnreadableImageError(f"the photo is damaged: its decoder failed; {advice}")


def _send(pipe: IO[bytes], content: Any) -> None:
    packed = pickle.dumps(content, pickle.HIGHEST_PROTOCOL)
    pipe.write(_LENGTH.pack(len(packed)))
    pipe.write(packed)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    (length,) = _LENGTH.unpack(_read(pipe, _LENGTH.size))
    return pickle.loads(_read(pipe, length))


def _read(pipe: IO[bytes], length: int) -> bytes:
    content = pipe.read(length)
    if len(content) < length:
        raise EOFError
    return content


def _serve() -> None:
    """Run calls from the standard input until it closes.

    The kernel ends the process at the time limit of a photo.
    """
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # libraries may print
    logging.disable()  # Pillow's messages quote the photo
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_HELPER_BYTES, MAX_HELPER_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        try:
            function, arguments = _receive(sys.stdin.buffer)
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_REAL, MAX_DECODE_S)
        try:
            result = function(*arguments)
        except PhotoError as error:
            result = error
        except MemoryError:
            result = UnreadableImageError(
                f"decoding the photo takes more than {MAX_HELPER_BYTES / 1e6:g} MB of memory; "
                "save it as JPEG and send that"
            )
        signal.setitimer(signal.ITIMER_REAL, 0)
        _send(results, result)


if __name__ == "__main__":
    _serve()
