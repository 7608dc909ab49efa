"""Child processes that report through a pipe; their errors are raised here, in one line."""

import contextlib
import multiprocessing
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


class ChildError(RuntimeError):
    """A child process failed; the message is its error."""


def start(function: Callable[..., None], *args: object, daemon: bool = True) -> tuple[Any, Connection]:
    """Start a process that calls ``function(pipe, *args)``; return it and the other end of the pipe."""
    context = multiprocessing.get_context("spawn")
    parent_end, child_end = context.Pipe()
    process = context.Process(target=_call, args=(function, child_end, *args), daemon=daemon)
    process.start()
    child_end.close()
    return process, parent_end


def _call(function: Callable[..., None], pipe: Connection, *args: object) -> None:
    try:
        function(pipe, *args)
    except Exception as error:
        with contextlib.suppress(BrokenPipeError):  # the parent has failed too
            pipe.send(ChildError(one_line(error)))


def receive(pipe: Connection) -> Any:
    """Return what a child process sent, or raise its error."""
    received = pipe.recv()
    if isinstance(received, ChildError):
        raise received
    return received


def one_line(error: Exception) -> str:
    """Describe an error in one line, with its last line in this repository and its last line of all."""
    frames = traceback.extract_tb(error.__traceback__)
    text = (str(error).strip().splitlines() or [""])[0]
    locations = dict.fromkeys([location(frames), location(frames[-1:])])
    return f"{type(error).__name__}: {text} ({', '.join(locations)})"


def location(frames: Sequence[traceback.FrameSummary]) -> str:
    """Return the last frame in this repository, or the last of all, as ``path:line``."""
    in_repository = [
        frame
        for frame in frames
        if Path(frame.filename).is_relative_to(ROOT)
        and ".venv" not in frame.filename
        and frame.name != "<lambda>"
    ]
    last = (in_repository or [*frames])[-1]
    path = Path(last.filename)
    path = path.relative_to(ROOT) if path.is_relative_to(ROOT) else Path(*path.parts[-3:])
    return f"{path}:{last.lineno}"
