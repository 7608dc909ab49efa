"""Addresses that webhooks may reach: public ones, and networks that the operator allows.

Without these checks a client could make the server send requests inside its own network (SSRF).
"""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import SplitResult, urlsplit

MAX_URL_CHARS = 2000
_UNICAST = IPv6Network("2000::/3")
"""Public IPv6 addresses; outside are IPv4-mapped, NAT64 and site-local ones."""
_TUNNELS = (IPv6Network("2002::/16"), IPv6Network("2001::/32"))
"""6to4 and Teredo: their addresses contain an IPv4 address."""

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


class WebhookError(Exception):
    """Report why a webhook cannot be delivered."""


def parse_url(url: str) -> SplitResult:
    """Check the form of the URL of a webhook.

    Raises:
        WebhookError: it cannot be used.
    """
    if (
        len(url) > MAX_URL_CHARS
        or not url.isascii()
        or any(one.isspace() or not one.isprintable() for one in url)
    ):
        raise WebhookError(f"a URL of at most {MAX_URL_CHARS} printable ASCII characters is needed")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise WebhookError(f"the URL is invalid ({error})") from error
    if parts.scheme not in ("https", "http") or not parts.hostname or port == 0:
        raise WebhookError("the URL needs the form https://host/path")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise WebhookError("the URL has a user, a password or a fragment; leave it out")
    return parts


def check_literal(parts: SplitResult, networks: Sequence[Network]) -> None:
    """Check a URL as far as possible without resolving its host.

    Raises:
        WebhookError: the host is an address that is refused, or TLS is needed.
    """
    if parts.scheme == "http" and not networks:
        raise WebhookError("the URL needs https")
    try:
        address = ipaddress.ip_address(parts.hostname or "")
    except ValueError:
        return
    check_address(address, networks, needs_network=parts.scheme == "http")


async def resolve(parts: SplitResult, networks: Sequence[Network]) -> str:
    """Resolve the host of a URL and return the address to connect to.

    Raises:
        WebhookError: the host is unknown, or one of its addresses is refused.
    """
    port = parts.port or (443 if parts.scheme == "https" else 80)
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise WebhookError("the host has no address") from error
    addresses = [ipaddress.ip_address(str(one[4][0])) for one in found]
    for address in addresses:
        check_address(address, networks, needs_network=parts.scheme == "http")
    if not addresses:
        raise WebhookError("the host has no address")
    return str(addresses[0])


def check_address(address: Address, networks: Sequence[Network], *, needs_network: bool = False) -> None:
    """Accept a public address or one in ``networks``.

    Args:
        networks: that the operator allows.
        needs_network: public addresses are refused too.

    Raises:
        WebhookError: the address is refused.
    """
    if any(address.version == one.version and address in one for one in networks):
        return
    if needs_network:
        raise WebhookError(
            "the URL needs https: without TLS only networks of gateway.jobs.webhook_networks are reached"
        )
    is_refused = (
        *(not address.is_global, address.is_private, address.is_loopback, address.is_link_local),
        *(address.is_multicast, address.is_unspecified, address.is_reserved),
    )
    if any(is_refused) or (isinstance(address, IPv6Address) and not _is_public_ipv6(address)):
        raise WebhookError(
            "the host has an address that is not public; ask the operator for gateway.jobs.webhook_networks"
        )


def _is_public_ipv6(address: IPv6Address) -> bool:
    return address in _UNICAST and not any(address in network for network in _TUNNELS)
