"""Apply or remove the headers of a reverse proxy, for API and page.

The peer of every request is HAProxy, so a proxy in front authenticates by a secret in a header.
Decisions: docs/decisions/0021-reverse-proxies.md, docs/decisions/0030-rate-limits.md.
"""

import hmac
import ipaddress
import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECRET_HEADER = "x-skinserve-proxy-secret"
TRUSTED_PROXY = "skinserve.trusted_proxy"
"""Key of the ASGI scope: whether the trusted proxy sent the request."""
CLIENT_ADDRESS = "skinserve.client_address"
"""Key of the ASGI scope: client address sent by the trusted proxy, or None."""
MIN_SECRET_CHARS = 16
_REMOVED = re.compile(  # Gradio reads some of them by itself
    rb"forwarded|x-forwarded-.*|x-real-ip|x-gradio-server|x-skinserve-proxy-secret"
)
_MAX_CHARS = 255
_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)+/?")
_PROTO = re.compile(r"https?")
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_ADDRESS = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")
"""With a port, as some proxies write it."""


class TrustedProxy(BaseModel):
    """Set name and secret of the proxy whose ``X-Forwarded-*`` headers are applied."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="for messages, such as nginx")
    secret_file: str = Field(
        description=f"each line is a secret of {MIN_SECRET_CHARS} characters or more; the proxy sends one as "
        "X-Skinserve-Proxy-Secret"
    )

    def read_secrets(self) -> tuple[str, ...]:
        """Read the secrets: one, or an old and a new one.

        Raises:
            ValueError: the file cannot be read, or a secret is too short.
        """
        try:
            lines = Path(self.secret_file).read_text(encoding="ascii").split()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not ASCII"
            raise ValueError(
                f"the secret_file {self.secret_file} of the trusted proxy {self.name} cannot be read: "
                f"{reason}; write one with openssl rand -hex 32"
            ) from error
        if not lines or min(map(len, lines)) < MIN_SECRET_CHARS:
            found = f"a secret of {min(map(len, lines))} characters" if lines else "no secret"
            raise ValueError(
                f"the secret_file {self.secret_file} of the trusted proxy {self.name} has {found}; at least "
                f"{MIN_SECRET_CHARS} are needed: openssl rand -hex 32"
            )
        return tuple(lines)


def proxy_secrets(proxy: TrustedProxy | None) -> tuple[str, ...]:
    """Return the secrets of a trusted proxy; none without one.

    Raises:
        ValueError: as ``TrustedProxy.read_secrets``.
    """
    return proxy.read_secrets() if proxy is not None else ()


class ForwardedHeadersMiddleware:
    """Apply prefix, scheme, host and client of a trusted proxy; remove the headers always.

    Code behind it reads all four from the ASGI scope. Of ``X-Forwarded-For`` the last entry is used, which
    the proxy itself has added. Other values that are invalid, repeated or a list are ignored: they come from
    a client, past a proxy that does not overwrite them. Redirects within the server
    have no scheme and host, so that they also pass a proxy that is not trusted.
    """

    def __init__(self, app: ASGIApp, *, secrets: Sequence[str] = ()) -> None:
        """Wrap an application.

        Args:
            secrets: a request with one of them comes from the trusted proxy.
        """
        self._app = app
        self._secrets = [secret.encode() for secret in secrets]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        is_trusted = self._is_from_proxy(scope)
        changes = _forwarded(scope) if is_trusted else {}
        scope = {**scope, TRUSTED_PROXY: is_trusted, CLIENT_ADDRESS: None, **changes}
        scope["headers"] = [one for one in scope["headers"] if not _REMOVED.fullmatch(one[0])]
        origin = f"{scope.get('scheme', 'http')}://{Headers(scope=scope).get('host', '')}"

        async def send_relative(message: Message) -> None:
            if message["type"] == "http.response.start" and 300 <= message["status"] < 400:
                headers = MutableHeaders(raw=message["headers"])
                if headers.get("location", "").startswith(f"{origin}/"):
                    headers["location"] = headers["location"].removeprefix(origin)
            await send(message)

        await self._app(scope, receive, send_relative)

    def _is_from_proxy(self, scope: Scope) -> bool:
        sent = [value for name, value in scope["headers"] if name == SECRET_HEADER.encode()]
        if len(sent) != 1:
            return False
        matches = [hmac.compare_digest(sent[0], secret) for secret in self._secrets]
        return any(matches)


def _forwarded(scope: Scope) -> Scope:
    """Return the parts of the scope that valid headers of the proxy change."""
    changes: Scope = {}
    headers = Headers(scope=scope)
    if prefix := _valid(headers, "x-forwarded-prefix", _PREFIX):
        changes["root_path"] = prefix + scope.get("root_path", "")
        changes["path"] = prefix + scope["path"]
        if scope.get("raw_path") is not None:
            changes["raw_path"] = prefix.encode() + scope["raw_path"]
    if scheme := _valid(headers, "x-forwarded-proto", _PROTO):
        changes["scheme"] = scheme
    if host := _valid(headers, "x-forwarded-host", _HOST):
        others = [(name, value) for name, value in scope["headers"] if name != b"host"]
        changes["headers"] = [(b"host", host.encode()), *others]
    if address := _client_address(headers):
        changes["client"] = (address, 0)
        changes[CLIENT_ADDRESS] = address
    return changes


def _client_address(headers: Headers) -> str | None:
    """Return the last address of ``X-Forwarded-For``, the one that the proxy has added."""
    entries = headers.getlist("x-forwarded-for")
    text = entries[-1].rpartition(",")[2].strip()[:_MAX_CHARS] if entries else ""
    if match := _ADDRESS.fullmatch(text):
        text = match[1] or match[2]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address).partition("%")[0]


def _valid(headers: Headers, name: str, syntax: re.Pattern[str]) -> str | None:
    values = headers.getlist(name)
    if len(values) == 1 and len(values[0]) <= _MAX_CHARS and syntax.fullmatch(values[0]):
        return values[0].rstrip("/")
    return None
