"""Caller of a request: name, roles and limit, stored in the ASGI scope."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from serve.config import Limit

__all__ = ["ANONYMOUS", "CALLER", "ROLES", "Caller", "Limit", "Role", "caller_of"]

Role = Literal["predict", "bulk", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)

CALLER = "skinserve.caller"
"""Key of the ASGI scope."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Name the caller of a request, with its roles and limit.

    Attributes:
        name: ``key:NAME``, ``jwt:SUBJECT``, ``page``, ``address:192.0.2.7`` or ``anonymous``; never a secret.
        limit: None is unlimited.
    """

    name: str
    roles: frozenset[Role]
    limit: Limit | None


ANONYMOUS = Caller(name="anonymous", roles=frozenset(ROLES), limit=None)
"""Every caller of a server without keys."""


def caller_of(scope: Mapping[str, Any]) -> Caller:
    """Return the caller of a request; ``ANONYMOUS`` if nothing has set one."""
    return scope.get(CALLER, ANONYMOUS)
