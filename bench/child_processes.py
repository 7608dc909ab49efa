"""Processes that report through a pipe; an error there is raised here, in one line."""

import contextlib
import multiprocessing
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


class ChildError(RuntimeError):
    """A started process failed; the message is its error."""


def start(function: Callable[..., None], *args: object, daemon: bool = True) -> tuple[Any, Connection]:
    """Start a process that calls ``function`` with a pipe and ``args``; return it and our end of the pipe."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_called, args=(function, theirs, *args), daemon=daemon)
    process.start()
    theirs.close()
    return process, ours


def _called(function: Callable[..., None], pipe: Connection, *args: object) -> None:
    try:
        function(pipe, *args)
    except Exception as error:
        with contextlib.suppress(BrokenPipeError):  # the other process has failed too
            pipe.send(ChildError(one_line(error)))


def receive(pipe: Connection) -> Any:
    """Return what a started process sent; raise what it raised."""
    found = pipe.recv()
    if isinstance(found, ChildError):
        raise found
    return found


def one_line(error: Exception) -> str:
    """Describe an error in one line, with our last line and the last line of the traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    text = (str(error).strip().splitlines() or [""])[0]
    places = dict.fromkeys([place(frames), place(frames[-1:])])
    return f"{type(error).__name__}: {text} ({', in '.join(places)})"


def place(frames: Sequence[traceback.FrameSummary]) -> str:
    """The last frame of this repository, or the last of all, as ``path:line``."""
    ours = [one for one in frames if Path(one.filename).is_relative_to(ROOT) and ".venv" not in one.filename]
    ours = [one for one in ours if one.name != "<lambda>"] or [*frames]
    path = Path(ours[-1].filename)
    path = path.relative_to(ROOT) if path.is_relative_to(ROOT) else Path(*path.parts[-3:])
    return f"{path}:{ours[-1].lineno}"
