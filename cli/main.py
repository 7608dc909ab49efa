"""The console script ``skinserve``: one subcommand for each step from data to server."""

import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import version

from cli.commands import COMMANDS, Command
from models.errors import EXIT_DONE, EXIT_WRONG_USE

HELP = ("-h", "--help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the subcommand that the first argument names and return its exit code.

    Only that subcommand's modules are imported: torch and Ray take seconds.
    """
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or HELP[:1]
    if name in HELP:
        print(_help())
        return EXIT_DONE
    if name == "--version":
        print(f"skinserve {version('skinserve')}")
        return EXIT_DONE
    if name not in COMMANDS:
        print(f"skinserve: no command {name!r}; choose one of {', '.join(COMMANDS)}", file=sys.stderr)
        return EXIT_WRONG_USE
    return _run(COMMANDS[name], rest)


def _run(command: Command, arguments: list[str]) -> int:
    run = importlib.import_module(command.module).main
    if not set(arguments) & set(HELP):
        return run(arguments)
    try:
        return run(arguments)
    finally:
        print(f"example:\n  {command.example}")


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.purpose}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: skinserve COMMAND [OPTIONS]",
            "",
            "Classify skin lesions and the progress of a face from photos.",
            "Research software, not a medical device.",
            "",
            "commands:",
            *lines,
            "",
            "options:",
            "  --version  print the version",
            "  --help     print this text, or the options and an example of a command",
            "",
            "exit codes: 0 done, 1 failed, 2 wrong use, 3 rows left out, 130 stopped by Ctrl-C,",
            "143 stopped by SIGTERM",
            "",
            "example:",
            "  skinserve serve",
        ]
    )
