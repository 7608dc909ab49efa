"""Keys in force, looked up by credential; keys.yaml is read again when it changes."""

import asyncio
import hashlib
import hmac
import logging
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from serve.runtime.callers import Caller
from serve.runtime.errors import ApiError
from serve.runtime.keys_file import PAGE_KEY_NAME, KeyEntry, KeysFile, KeysFileError, read_keys

if TYPE_CHECKING:
    from serve.runtime.jwt_tokens import JwtVerifier

CHECK_EVERY_S = 2.0
CHECK_TIMEOUT_S = 1.0
"""Longest wait of the request that starts a check; other requests never wait for a file system."""

_Signature = tuple[int, ...] | None


class KeyRing:
    """Find the caller of a credential.

    The first request after ``CHECK_EVERY_S`` waits for a check of the file, so that a revoked key is not
    accepted after an hour without requests. While the file has a mistake the last good one is in
    force.
    """

    def __init__(self, file: Path, page_sha256: str | None = None) -> None:
        """Read the file.

        Args:
            page_sha256: digest of the key that this start of the server gave to the page.

        Raises:
            KeysFileError: the file cannot be used.
        """
        self._file = file
        self._page_sha256 = page_sha256
        self._checked_at = time.monotonic()
        self._check: asyncio.Future[None] | None = None
        self._signature = _signature(file)
        self._failed = False
        self._content = read_keys(file)
        self._known = _KnownKeys(self._content, page_sha256)
        self._jwt = self._jwt_verifier()

    async def caller(self, credential: str) -> Caller:
        """Return the caller of a key or token.

        Raises:
            ApiError: ``unauthorized``.
        """
        if time.monotonic() - self._checked_at > CHECK_EVERY_S:
            await self._check_file()
        if self._jwt is not None and credential.count(".") == 2:
            return await self._jwt.caller(credential)
        known = self._known.find(credential)
        if known is None:
            raise _unauthorized("is not valid")
        if known.expires_at is not None and known.expires_at <= time.time():
            raise _unauthorized("has expired")
        return known.caller

    async def _check_file(self) -> None:
        self._checked_at = time.monotonic()
        if self._check is None:  # else a file system hangs
            self._check = asyncio.ensure_future(asyncio.to_thread(self._read_if_changed))
            self._check.add_done_callback(self._end_check)
            await asyncio.wait([self._check], timeout=CHECK_TIMEOUT_S)

    def _end_check(self, check: "asyncio.Future[None]") -> None:
        self._check = None
        if not check.cancelled() and (error := check.exception()) is not None:
            logging.getLogger("skinserve").error("keys file %s was not checked", self._file, exc_info=error)

    def _read_if_changed(self) -> None:
        """Replace the keys if the file has changed; log a mistake once."""
        signature = _signature(self._file)
        if signature == self._signature:
            return
        log = logging.getLogger("skinserve")
        try:
            content = read_keys(self._file)
        except KeysFileError as error:
            log.error("%s; the last good keys stay in force", error)
            self._failed = True
        else:
            if self._failed:
                log.warning("keys file %s is in force again", self._file)
            self._failed = False
            before, self._content = self._content, content
            self._known = _KnownKeys(content, self._page_sha256)
            if content.jwt != before.jwt:
                self._jwt = self._jwt_verifier()
        self._signature = signature

    def _jwt_verifier(self) -> "JwtVerifier | None":
        if self._content.jwt is None:
            return None
        from serve.runtime.jwt_tokens import JwtVerifier  # cryptography takes 10 MB

        return JwtVerifier(self._content.jwt, self._file.parent)


@dataclass(frozen=True, kw_only=True)
class _KnownKey:
    caller: Caller
    sha256: bytes
    expires_at: float | None


class _KnownKeys:
    """Find a key in constant time, for any key and any number of keys.

    The index is by a keyed hash with a random secret. The time of a look-up therefore reveals nothing, and
    no loop over all keys is needed.
    """

    def __init__(self, content: KeysFile, page_sha256: str | None) -> None:
        self._secret = secrets.token_bytes(32)
        self._by_tag = {self._tag(known.sha256): known for known in _known_keys(content, page_sha256)}

    def find(self, key: str) -> _KnownKey | None:
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        known = self._by_tag.get(self._tag(digest))
        return known if known is not None and hmac.compare_digest(known.sha256, digest) else None

    def _tag(self, digest: bytes) -> bytes:
        return hashlib.blake2b(digest, key=self._secret, digest_size=32).digest()


def _known_keys(content: KeysFile, page_sha256: str | None) -> list[_KnownKey]:
    known = [_known_key(entry) for entry in content.keys]
    if page_sha256 is not None:
        page = Caller(name=PAGE_KEY_NAME, roles=frozenset({"predict"}), limit=None)
        known.append(_KnownKey(caller=page, sha256=bytes.fromhex(page_sha256), expires_at=None))
    return known


def _known_key(entry: KeyEntry) -> _KnownKey:
    caller = Caller(
        name=PAGE_KEY_NAME if entry.name == PAGE_KEY_NAME else f"key:{entry.name}",
        roles=frozenset(entry.roles),
        limit=entry.limit,
    )
    expires_at = entry.expires.timestamp() if entry.expires else None
    return _KnownKey(caller=caller, sha256=bytes.fromhex(entry.sha256), expires_at=expires_at)


def _unauthorized(reason: str) -> ApiError:
    return ApiError("unauthorized", f"the key {reason}; ask the operator of this server for another")


def _signature(file: Path) -> _Signature:
    """Return modification times, size and inode of a file; None if it is missing."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)
