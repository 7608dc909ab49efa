"""Errors and exit codes of all commands.

This module is in the lowest package because ``serve`` and ``train`` share it.
"""

import contextlib
import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_WRONG_USE = 2
"""By the argument parser: an unknown option, or a value out of range."""
EXIT_ROWS_LEFT_OUT = 3
EXIT_STOPPED = 130
"""By Ctrl-C, as a shell reports it."""
EXIT_TERMINATED = 143
"""By SIGTERM, as a shell reports it."""


class SkinserveError(Exception):
    """Expected error: what was found, what is needed, what to do; printed without a traceback."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled as Ctrl-C is."""


@contextlib.contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Raise ``Terminated`` at SIGTERM; in the main thread only."""

    def terminate(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Main(Protocol):
    """The main function of a command."""

    def __call__(self, arguments: Sequence[str] | None = None) -> int:
        """Run the command and return its exit code; without arguments, those of this process."""
        ...


def command(
    prog: str, *, when_stopped: str = "stopped by Ctrl-C"
) -> Callable[[Callable[[str, Sequence[str] | None], int]], Main]:
    """Wrap a main function: print expected errors as one line and return the exit code.

    Args:
        prog: the command as typed; it begins every error and is the main function's first argument.
        when_stopped: printed at Ctrl-C.
    """

    def decorate(run: Callable[[str, Sequence[str] | None], int]) -> Main:
        @functools.wraps(run)
        def main(arguments: Sequence[str] | None = None) -> int:
            try:
                code = run(prog, arguments)
                sys.stdout.flush()
                return code
            except SkinserveError as error:
                print(f"{prog}: {error}", file=sys.stderr)
                return EXIT_FAILED
            except BrokenPipeError:  # the reader, such as head, has enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes at exit
                return EXIT_DONE
            except KeyboardInterrupt as stop:
                print(f"{prog}: {when_stopped}", file=sys.stderr)
                return EXIT_TERMINATED if isinstance(stop, Terminated) else EXIT_STOPPED

        return main

    return decorate
