"""Sign and send webhooks, as the specification Standard Webhooks 1.0 says."""

import base64
import binascii
import hashlib
import hmac
import ssl
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from serve.jobs.webhook_addresses import Network, WebhookError, parse_url, resolve

SECRET_PREFIX = "whsec_"
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64
TIMEOUT_S = 10.0
"""Of connecting, and of each read."""
USER_AGENT = "skinserve"


def read_secret(file: str) -> bytes:
    """Read the secret that signs webhooks.

    Raises:
        ValueError: the file cannot be read, or has another form.
    """
    need = (
        f"it needs a line {SECRET_PREFIX}BASE64 of {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} random bytes: "
        f'echo "{SECRET_PREFIX}$(openssl rand -base64 32)"'
    )
    try:
        text = Path(file).read_text(encoding="ascii").strip()
        secret = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except OSError as error:
        raise ValueError(f"the file of the webhook secret {file} cannot be read: {error.strerror}") from error
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{file} has no webhook secret; {need}") from error
    if not text.startswith(SECRET_PREFIX) or not MIN_SECRET_BYTES <= len(secret) <= MAX_SECRET_BYTES:
        raise ValueError(f"{file} has no webhook secret; {need}")
    return secret


def signed_headers(secret: bytes, id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers of one delivery.

    Args:
        id: the same for all attempts of one delivery.
        timestamp: of the attempt, Unix seconds.
    """
    signed = b".".join((id.encode(), str(timestamp).encode(), body))
    digest = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{digest}",
        "content-type": "application/json",
        "user-agent": USER_AGENT,
    }


class WebhookSender:
    """Send webhooks to the addresses that are allowed.

    Args:
        secret: signs them.
        networks: that the operator allows beside public addresses.
    """

    def __init__(self, secret: bytes, networks: Sequence[Network]) -> None:
        self._secret = secret
        self._networks = networks
        self._tls = ssl.create_default_context()

    async def send(self, url: str, id: str, body: bytes) -> None:
        """Send one attempt.

        The host is resolved once; the connection goes to the address that was checked. Redirects, proxies of
        the environment and the body of the response are ignored.

        Raises:
            WebhookError: the address is refused, or the receiver did not answer 2xx.
        """
        parts = parse_url(url)
        address = await resolve(parts, self._networks)
        literal = f"[{address}]" if ":" in address else address
        pinned = parts._replace(netloc=f"{literal}:{parts.port}" if parts.port else literal).geturl()
        headers = signed_headers(self._secret, id, int(time.time()), body) | {"host": parts.netloc}
        try:
            async with (
                httpx.AsyncClient(
                    verify=self._tls, trust_env=False, follow_redirects=False, timeout=TIMEOUT_S
                ) as client,
                client.stream(
                    "POST",
                    pinned,
                    content=body,
                    headers=headers,
                    extensions={"sni_hostname": parts.hostname},
                ) as response,
            ):
                status = response.status_code
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
            raise WebhookError(f"the receiver cannot be reached ({type(error).__name__})") from error
        if not 200 <= status < 300:
            raise WebhookError(f"the receiver answered {status}, 2xx is needed")
