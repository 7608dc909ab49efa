"""Authentication and roles of requests, with ``gateway.keys_file``."""

import itertools
import re
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.config import GatewayConfig
from serve.runtime.callers import CALLER, ROLES, Caller, Role
from serve.runtime.errors import ApiError, error_response, internal_error, no_route
from serve.runtime.key_ring import KeyRing
from serve.runtime.openapi import HEALTH_PATHS
from serve.schemas import API_KEY_HEADER

MAX_CREDENTIAL_CHARS = 16_384
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/=-]+)", re.IGNORECASE)
_KEY = re.compile(r"[A-Za-z0-9._~+/=-]+")
_HOW_TO_SEND = (
    f"send Authorization: Bearer KEY or {API_KEY_HEADER}: KEY; the operator of this server gives keys"
)

PUBLIC_REQUESTS = frozenset(itertools.product(("GET", "HEAD"), HEALTH_PATHS))
"""Health checks; all other requests need a key."""
_HEALTH_CHECKER = Caller(name="anonymous", roles=frozenset(), limit=None)
"""Caller of ``PUBLIC_REQUESTS``."""

PREDICT: frozenset[Role] = frozenset({"predict", "admin"})
BULK: frozenset[Role] = frozenset({"bulk", "admin"})
_ANY: frozenset[Role] = frozenset(ROLES)
ROLES_OF_PATH: dict[str, frozenset[Role]] = {
    "/": _ANY,
    "/docs": _ANY,
    "/favicon.ico": _ANY,
    "/healthz": _ANY,
    "/openapi.json": _ANY,
    "/predict": PREDICT,
    "/readyz": _ANY,
    "/robots.txt": _ANY,
    "/v1/feedback": PREDICT,
    "/v1/jobs": BULK,
    "/v1/lesion": PREDICT,
    "/v1/lesion/batch": BULK,
    "/v1/models": _ANY,
    "/v1/progress": PREDICT,
    "/v1/report": PREDICT,
    "/v2": _ANY,
    "/v2/health/live": _ANY,
    "/v2/health/ready": _ANY,
    "/v2/models/stats": _ANY,
    "/v2/repository/index": _ANY,
}
"""One of these roles suffices. Paths without an entry exist for ``admin`` only."""
ROLES_OF_PREFIX: dict[str, frozenset[Role]] = {
    "/docs/static/": _ANY,
    "/v1/feedback/": PREDICT,
    "/v1/jobs/": BULK,
    "/v2/models/": _ANY,  # a request of several photos needs more: serve.lesion.open_inference
}


@dataclass(frozen=True)
class Authorizer:
    """Accept or reject a request by its credential and the path that is routed."""

    keys: KeyRing

    async def caller(self, scope: Scope) -> Caller:
        """Return the caller of a request; store it in the scope even if it is forbidden.

        Raises:
            ApiError: ``unauthorized``; ``forbidden``; ``not_found`` for unknown paths and those of ``admin``.
        """
        path = route_path(scope)
        method = scope.get("method", "")
        if (method, path) in PUBLIC_REQUESTS:
            return _HEALTH_CHECKER
        caller = scope[CALLER] = await self.keys.caller(credential_of(scope))
        roles = _roles_of(path)
        if roles is None and "admin" not in caller.roles:
            raise no_route(method, scope["path"])
        if roles is not None:
            check_role(caller, roles, path)
        return caller


def check_role(caller: Caller, roles: frozenset[Role], what: str) -> None:
    """Check that a caller has one of the roles.

    Args:
        caller: of the request.
        roles: one suffices.
        what: needs the role; the subject of the message.

    Raises:
        ApiError: ``forbidden``.
    """
    if not roles & caller.roles:
        needed = " or ".join(role for role in ROLES if role in roles)
        found = ", ".join(sorted(caller.roles)) or "no role"
        raise ApiError(
            "forbidden",
            f"{what} needs the role {needed}, this key has {found}; ask the operator of this server",
        )


def create_authorizer(config: GatewayConfig) -> Authorizer | None:
    """Return the authorizer of a gateway; None: no keys are required.

    Raises:
        KeysFileError: the keys file cannot be used.
    """
    if config.keys_file is None:
        return None
    return Authorizer(KeyRing(Path(config.keys_file), config.page_key_sha256))


class AuthMiddleware:
    """Reject requests without a valid key; set the caller of the others in the scope."""

    def __init__(self, app: ASGIApp, authorizer: Authorizer) -> None:
        self._app = app
        self._authorizer = authorizer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on or reject one request; anything but HTTP is closed."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        try:
            scope[CALLER] = await self._authorizer.caller(scope)
        except ApiError as error:
            response = error_response(error.code, str(error), error.headers)
        except Exception as error:
            response = internal_error(error, Headers(scope=scope).get("x-request-id", "unknown"))
        else:
            return await self._app(scope, receive, send)
        await response(scope, receive, send)


def credential_of(scope: Scope) -> str:
    """Return the one key or token that a request carries.

    Raises:
        ApiError: ``unauthorized``.
    """
    found: set[str] = set()
    for name, value in scope["headers"]:
        if name == b"authorization":
            match = _BEARER.fullmatch(value.decode("latin-1"))
            if match is None:
                raise _unauthorized("the header Authorization has another form than Bearer KEY")
            found.add(match[1])
        elif name == b"x-api-key":
            match = _KEY.fullmatch(value.decode("latin-1"))
            if match is None:
                raise _unauthorized(f"the header {API_KEY_HEADER} has no key")
            found.add(match[0])
    if not found:
        raise _unauthorized("the request has no key")
    if len(found) > 1:
        raise _unauthorized("the request has two different keys")
    credential = found.pop()
    if len(credential) > MAX_CREDENTIAL_CHARS:
        raise _unauthorized(f"the key has more than {MAX_CREDENTIAL_CHARS} characters")
    return credential


def route_path(scope: Scope) -> str:
    """Return the path that Starlette's router matches, without the prefix of a proxy.

    Nothing is normalised. A test compares it with the router's own path.
    """
    path, prefix = scope["path"], scope.get("root_path", "")
    if prefix and path == prefix:
        return ""
    return path[len(prefix) :] if prefix and path.startswith(f"{prefix}/") else path


def _roles_of(path: str) -> frozenset[Role] | None:
    roles = ROLES_OF_PATH.get(path)
    if roles is None:
        roles = next((one for prefix, one in ROLES_OF_PREFIX.items() if path.startswith(prefix)), None)
    return roles


def _unauthorized(found: str) -> ApiError:
    return ApiError("unauthorized", f"{found}; {_HOW_TO_SEND}")
