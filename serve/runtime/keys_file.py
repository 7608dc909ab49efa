"""``keys.yaml``, the file of the API keys: schema, reading, atomic changes.

It holds SHA-256 digests of random keys of 256 bits, never a key. Format: docs/keys.md.
"""

import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import AwareDatetime, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from models.atomic_update import file_lock
from models.errors import SkinserveError
from serve.config import Limit, Settings
from serve.runtime.callers import Role

KEY_PREFIX = "skin_"
"""Secret scanners find published keys by this prefix."""
PAGE_KEY_NAME = "page"
MAX_FILE_BYTES = 10_000_000
MAX_PROBLEMS = 3
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LOOPBACK = re.compile(r"http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]+)?/.*")


class KeysFileError(SkinserveError):
    """Report a keys file that cannot be read or changed."""


class KeyEntry(Settings):
    """One key with the name of its owner, roles and limit."""

    name: str = Field(description="letters, digits and ._-, at most 64; in the audit log")
    sha256: str = Field(repr=False, description="of the key, 64 hex digits")
    roles: tuple[Role, ...] = Field(min_length=1)
    limit: Limit = Limit()
    expires: AwareDatetime | None = Field(default=None, description="ISO 8601 with an offset")

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError("a name has 1 to 64 letters, digits or ._-")
        return name

    @field_validator("sha256")
    @classmethod
    def _check_sha256(cls, digest: str) -> str:
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise ValueError("64 hex digits in lower case are needed; skinserve keys add writes them")
        return digest


class JwtSettings(Settings):
    """Tokens (JWT) of one issuer."""

    issuer: str = Field(min_length=1, description="claim iss")
    audience: str = Field(min_length=1, description="claim aud")
    jwks: str = Field(description="keys of the issuer: https:// URL, or a file beside keys.yaml")
    roles_claim: str = Field(
        default="roles", description="list, or values separated by spaces; realm_access.roles: nested"
    )
    roles: dict[str, tuple[Role, ...]] = Field(
        min_length=1, description="roles of this server by value of the claim; other values give none"
    )
    limit: Limit = Field(default=Limit(), description="of each subject")

    @field_validator("jwks")
    @classmethod
    def _check_jwks(cls, address: str) -> str:
        if "://" in address and not (address.startswith("https://") or _LOOPBACK.fullmatch(address)):
            raise ValueError("an https:// address or a file is needed; http:// only of this machine")
        return address


class KeysFile(Settings):
    """Content of keys.yaml."""

    keys: tuple[KeyEntry, ...]
    jwt: JwtSettings | None = None

    @model_validator(mode="after")
    def _check_unique(self) -> "KeysFile":
        names = [entry.name for entry in self.keys]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"several keys have the name {', '.join(repeated)}; rename or remove them")
        name_of: dict[str, str] = {}
        for entry in self.keys:
            other = name_of.setdefault(entry.sha256, entry.name)
            if other != entry.name:
                raise ValueError(f"{other} and {entry.name} have the same key; give each a key of its own")
        return self


def new_key() -> str:
    """Return a random key of 256 bits."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def key_digest(key: str | bytes) -> str:
    """Return the SHA-256 of a key as keys.yaml holds it."""
    return hashlib.sha256(key.encode() if isinstance(key, str) else key).hexdigest()


def read_keys(file: Path) -> KeysFile:
    """Read and validate keys.yaml.

    Raises:
        KeysFileError: the file is missing, unreadable or has a mistake; the message holds no digest.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise KeysFileError(f"keys file {file}: {error.strerror}; {_how_to_start(file)}") from error
    if len(content) > MAX_FILE_BYTES:
        raise KeysFileError(
            f"keys file {file} has more than {MAX_FILE_BYTES / 1e6:g} MB, the limit; correct the path"
        )
    try:
        return KeysFile.model_validate(_parsed(content, file))
    except ValidationError as error:
        raise KeysFileError(
            f"keys file {file}: {problems_in(error)}"
        ) from None  # the cause shows the content


def change_keys(file: Path, change: Callable[[tuple[KeyEntry, ...]], Sequence[KeyEntry]]) -> None:
    """Replace the entries of keys.yaml atomically; a missing file is created for its owner only.

    Comments in the file are lost.

    Raises:
        KeysFileError: the file has a mistake or cannot be written; it is as before.
        StorageError: another command holds the lock for too long.
    """
    file = file.resolve()
    with file_lock(str(file)):
        found = read_keys(file) if file.exists() else KeysFile(keys=())
        changed = found.model_copy(update={"keys": tuple(change(found.keys))})
        content = changed.model_dump(mode="json", exclude_defaults=True)
        try:
            _replace(file, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
        except OSError as error:
            raise KeysFileError(f"keys file {file} is as before, writing failed: {error.strerror}") from error


def problems_in(error: ValidationError) -> str:
    """Return at most three mistakes, without the values that were found."""
    found = [
        ": ".join(filter(None, [".".join(map(str, one["loc"])), _text_of(one)]))
        for one in error.errors(include_input=False, include_url=False, include_context=False)
    ]
    more = f"; and {len(found) - MAX_PROBLEMS} more" if len(found) > MAX_PROBLEMS else ""
    return "; ".join(found[:MAX_PROBLEMS]) + more


def _text_of(problem: ErrorDetails) -> str:
    if problem["type"] == "extra_forbidden":
        return "is unknown; correct the name or leave it out"
    return problem["msg"].removeprefix("Value error, ")


_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # seven times as fast


class _UniqueKeyLoader(_SafeLoader):
    """Reject a mapping with a repeated key, of which PyYAML would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise yaml.MarkedYAMLError(
                    problem=f"{name[:40]!r} is written twice; remove one", problem_mark=node.start_mark
                )
        return super().construct_mapping(node, deep)


def _parsed(content: bytes, file: Path) -> Any:
    try:
        parsed = yaml.load(content, _UniqueKeyLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "unknown"
        raise KeysFileError(f"keys file {file}, line {line}: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise KeysFileError(
            f"keys file {file} is not YAML in UTF-8; restore it, or correct the path"
        ) from None
    if not isinstance(parsed, dict):
        raise KeysFileError(f"keys file {file} has no list of keys; {_how_to_start(file)}")
    return parsed


def _how_to_start(file: Path) -> str:
    return f"skinserve keys add NAME --file {file} writes one"


def _replace(file: Path, text: str) -> None:
    """Write a file completely, or not at all; keep the mode of the one before, and as root its owner."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        if file.exists():
            before = file.stat()
            if os.geteuid() == 0:
                os.chown(name, before.st_uid, before.st_gid)
            os.chmod(name, before.st_mode & 0o777)
        os.replace(name, file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
