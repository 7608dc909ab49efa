"""Verify tokens (JWT) of one issuer with PyJWT and refresh its keys (JWKS)."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt

from serve.runtime.callers import Caller, Role
from serve.runtime.errors import ApiError, overloaded
from serve.runtime.keys_file import JwtSettings

_FAMILIES = ("RS", "PS", "ES")
ALGORITHMS = (*(f"{family}{bits}" for family in _FAMILIES for bits in (256, 384, 512)), "EdDSA")
"""Asymmetric ones only: with HMAC the issuer's public key would be the signing secret."""
LEEWAY_S = 60.0
"""Between the issuer's clock and ours."""
FETCH_TIMEOUT_S = 5.0
MAX_AGE_S = 300.0
"""Age of the issuer's keys after which they are fetched again, in the background."""
MIN_PAUSE_S = 10.0
"""Between two fetches, also failed ones: limits the fetches that invalid tokens cause."""
MAX_SUBJECT_CHARS = 200


class JwtVerifier:
    """Verify tokens and return their callers."""

    def __init__(self, settings: JwtSettings, folder: Path) -> None:
        """Prepare without reading any key.

        Args:
            folder: of keys.yaml, from which a file of keys is named.
        """
        self._settings = settings
        self._keys = IssuerKeys(_fetcher(settings.jwks, folder), settings.jwks)

    async def caller(self, token: str) -> Caller:
        """Verify a token.

        Raises:
            ApiError: ``unauthorized``; ``overloaded`` while no keys of the issuer are available.
        """
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in ALGORITHMS:
                found = str(header.get("alg"))[:20]
                raise _rejected(f"has the algorithm {found!r}, allowed are {', '.join(ALGORITHMS)}")
            key = await self._keys.get(header.get("kid"))
            if key is None:
                raise _rejected("is signed with a key that its issuer does not publish")
            claims = jwt.decode(
                token,
                key,  # a PyJWK allows its own algorithm only
                algorithms=list(ALGORITHMS),
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "sub", "iss", "aud"], "enforce_minimum_key_length": True},
            )
        except jwt.ExpiredSignatureError as error:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            raise _rejected(f"has expired (it is {now} here)") from error
        except (jwt.PyJWTError, ValueError, ArithmeticError, RecursionError) as error:  # the last: by json
            raise _rejected(_REASONS.get(type(error), "is not valid")) from error
        return self._caller(claims)

    def _caller(self, claims: Mapping[str, Any]) -> Caller:
        subject = claims["sub"]
        if not (subject.isprintable() and 0 < len(subject) <= MAX_SUBJECT_CHARS):
            raise _rejected(f"needs a subject of 1 to {MAX_SUBJECT_CHARS} printable characters")
        roles: set[Role] = set()
        for value in _values(claims, self._settings.roles_claim):
            roles.update(self._settings.roles.get(value, ()))
        return Caller(
            name=f"jwt:{subject}",
            roles=frozenset(roles),
            limit=self._settings.limit,
        )


class IssuerKeys:
    """Cache the signing keys of an issuer; the last good ones survive failed fetches."""

    def __init__(self, fetch: Callable[[], list[jwt.PyJWK]], source: str) -> None:
        self._fetch = fetch
        self._source = source
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = -float("inf")
        self._tried_at = -float("inf")
        self._failed = False
        self._task: asyncio.Task[None] | None = None

    async def get(self, key_id: object) -> jwt.PyJWK | None:
        """Return a key by its id, or None.

        An unknown id waits for a fetch. Fetches are at least ``MIN_PAUSE_S`` apart.

        Raises:
            ApiError: ``overloaded`` if no fetch has succeeded yet.
        """
        key = self._keys.get(key_id) if isinstance(key_id, str) else None
        now = time.monotonic()
        if key is None or now - self._fetched_at > MAX_AGE_S:
            if self._task is None and now - self._tried_at > MIN_PAUSE_S:
                self._tried_at = now
                self._task = asyncio.create_task(self._update())
            if key is None and self._task is not None:
                await asyncio.wait([self._task])
                key = self._keys.get(key_id) if isinstance(key_id, str) else None
        if not self._keys:
            raise overloaded("the keys of the token's issuer are not available", int(MIN_PAUSE_S))
        return key

    async def _update(self) -> None:
        log = logging.getLogger("skinserve")
        try:
            found = await asyncio.to_thread(self._fetch)
        except Exception as error:
            log.error("issuer keys of %s were not read, the last ones stay in force: %s", self._source, error)
            self._failed = True
        else:
            if self._failed:
                log.warning("issuer keys of %s are read again", self._source)
            self._failed = False
            self._keys = {key.key_id: key for key in found if key.key_id}
            self._fetched_at = time.monotonic()
        finally:
            self._task = None


def _fetcher(address: str, folder: Path) -> Callable[[], list[jwt.PyJWK]]:
    """Return a blocking function that reads the usable keys from a URL or a file."""

    def from_address() -> list[jwt.PyJWK]:
        client = jwt.PyJWKClient(address, cache_jwk_set=False, timeout=FETCH_TIMEOUT_S)
        return _signing_keys(client.get_jwk_set())

    def from_file() -> list[jwt.PyJWK]:
        return _signing_keys(jwt.PyJWKSet.from_json((folder / address).read_text(encoding="utf-8")))

    return from_address if "://" in address else from_file


def _signing_keys(keys: jwt.PyJWKSet) -> list[jwt.PyJWK]:
    found = [
        key
        for key in keys.keys
        if key.public_key_use in ("sig", None) and key.key_id and key.algorithm_name in ALGORITHMS
    ]
    if not found:
        raise ValueError("it has no signing key with an id (kid) and an asymmetric algorithm")
    return found


_REASONS: dict[type[Exception], str] = {
    jwt.InvalidSignatureError: "has a wrong signature",
    jwt.ImmatureSignatureError: "is not valid yet: the clock of its issuer or of this server is wrong",
    jwt.InvalidAudienceError: "is for another audience",
    jwt.InvalidIssuerError: "is from another issuer",
    jwt.MissingRequiredClaimError: "needs the claims exp, sub, iss and aud",
}


def _rejected(reason: str) -> ApiError:
    return ApiError("unauthorized", f"the token {reason}; get a new one from its issuer, or ask the operator")


def _values(claims: Mapping[str, Any], name: str) -> list[str]:
    """Return the values of a claim; dots in its name may lead into nested objects."""
    found: Any = claims.get(name)
    if found is None:
        found = claims
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        return found.split()
    return [value for value in found if isinstance(value, str)] if isinstance(found, list) else []
