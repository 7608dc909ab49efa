"""Command line: ``skinserve keys add|list|revoke``, the API keys of a server."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import ValidationError

from models.errors import EXIT_DONE, command
from serve.config import Limit
from serve.runtime.callers import Role
from serve.runtime.keys_file import (
    KeyEntry,
    KeysFileError,
    change_keys,
    key_digest,
    new_key,
    problems_in,
    read_keys,
)

_Name = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
DEFAULT_FILE = Path("keys.yaml")


@dataclass(frozen=True, kw_only=True)
class Add:
    """Create a random key, print it once, and write its SHA-256 to the keys file."""

    name: _Name
    """Name of the owner: letters, digits and ._-"""
    file: Path = DEFAULT_FILE
    """Keys file of the server, gateway.keys_file; created if it is missing."""
    roles: tuple[Role, ...] = ("predict",)
    """predict: lesion and progress; bulk: batches of lesions; admin: all routes."""
    requests_per_second: float | None = None
    """Default: no limit."""
    burst: int | None = None
    """Requests at once; default: those of two seconds, at least 2."""
    photos_per_day: int | None = None
    """Default: no limit."""
    time_zone: str = "UTC"
    """Its midnight starts a day; an IANA name such as Europe/Berlin."""
    expires: str | None = None
    """ISO 8601 with an offset: 2027-01-31T00:00:00Z."""


@dataclass(frozen=True, kw_only=True)
class List:
    """Print names, roles and limits of all keys."""

    file: Path = DEFAULT_FILE
    """Keys file of the server."""


@dataclass(frozen=True, kw_only=True)
class Revoke:
    """Remove a key; running servers reject it within two seconds."""

    name: _Name
    """As in skinserve keys list."""
    file: Path = DEFAULT_FILE
    """Keys file of the server."""


@command("skinserve keys")
def main(prog: str, arguments: Sequence[str] | None) -> int:
    """Run one subcommand."""
    subcommands = {"add": Add, "list": List, "revoke": Revoke}
    settings = tyro.extras.subcommand_cli_from_dict(
        subcommands, args=arguments, prog=prog, description="Manage the API keys of a server."
    )
    if isinstance(settings, Add):
        _add(settings)
    elif isinstance(settings, List):
        _list(settings.file)
    else:
        _revoke(settings)
    return EXIT_DONE


def _add(settings: Add) -> None:
    key = new_key()
    try:
        entry = KeyEntry(
            name=settings.name,
            sha256=key_digest(key),
            roles=settings.roles,
            limit=Limit(
                requests_per_second=settings.requests_per_second,
                burst=settings.burst,
                photos_per_day=settings.photos_per_day,
                time_zone=settings.time_zone,
            ),
            expires=settings.expires,  # pyright: ignore[reportArgumentType]  # parsed by pydantic
        )
    except ValidationError as error:
        raise KeysFileError(problems_in(error)) from None

    def append(entries: tuple[KeyEntry, ...]) -> list[KeyEntry]:
        if any(other.name == entry.name for other in entries):
            raise KeysFileError(
                f"{settings.file} has a key {entry.name}; choose another name, or revoke that key first"
            )
        return [*entries, entry]

    change_keys(settings.file, append)
    print(key)
    for line in (
        f"This is the key of {entry.name}. It is shown once; {settings.file} has only its SHA-256.",
        "Clients send it as Authorization: Bearer KEY or X-API-Key: KEY.",
        f"A server uses the file with the setting gateway.keys_file: {settings.file.absolute()}",
    ):
        print(line, file=sys.stderr)  # stdout is the key alone


def _list(file: Path) -> None:
    rows: list[tuple[str, ...]] = [
        ("name", "roles", "requests/s", "burst", "photos/day", "time zone", "expires")
    ]
    now = datetime.now(UTC)
    for entry in read_keys(file).keys:
        limit = entry.limit
        expires = entry.expires.isoformat(timespec="seconds") if entry.expires else "never"
        expired = " (expired)" if entry.expires and entry.expires <= now else ""
        numbers = (limit.requests_per_second, limit.burst_size, limit.photos_per_day)
        texts = ("no limit" if number is None else f"{number:g}" for number in numbers)
        rows.append((entry.name, ",".join(entry.roles), *texts, limit.time_zone, expires + expired))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip())


def _revoke(settings: Revoke) -> None:
    def without(entries: tuple[KeyEntry, ...]) -> list[KeyEntry]:
        left = [entry for entry in entries if entry.name != settings.name]
        if len(left) == len(entries):
            names = ", ".join(entry.name for entry in entries) or "none"
            raise KeysFileError(f"{settings.file} has no key {settings.name}; its keys: {names}")
        return left

    read_keys(settings.file)  # a missing file is an error, not an empty one
    change_keys(settings.file, without)
    print(f"revoked {settings.name}; running servers reject it within two seconds", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
