"""The page of a server with keys: a key of its own at each start, and a line that states who may open it."""

import os
from pathlib import Path
from typing import Any

from serve.runtime.keys_file import key_digest, new_key

PAGE_CLOSED = "the page is "
"""Begins the message of a page that is off or behind a proxy; the supervisor tells it from the gateway's."""


def secure_page(api: dict[str, Any], page: dict[str, Any] | None, home: Path) -> str | None:
    """Give the page a key, if the API needs one and the operator has not given it one.

    Args:
        api: ``args`` of the API application; the digest is added.
        page: ``args`` of the page, to which the file is added; None: there is no page.
        home: folder of the server, readable by its user only.

    Returns:
        What the operator has to know at the start; None: no keys are required.
    """
    keys_file = (api.get("gateway") or {}).get("keys_file")
    if keys_file is None:
        return None
    required = f"every request needs a key of {keys_file}, /healthz and /readyz excepted"
    if page is None:
        return required
    if page.get("api_key_file") is None:
        file = home / "page.key"
        key = new_key()
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            stream.write(key)
        api["gateway"]["page_key_sha256"] = key_digest(key)
        page["api_key_file"] = str(file)
    page["api_key_file"] = str(Path(page["api_key_file"]).absolute())
    return f"{required}; {_who_may_open_it(page.get('access'))}"


def _who_may_open_it(access: str | None) -> str:
    match access:
        case None:
            return f"{PAGE_CLOSED}off, as access is not set in its args: open, proxy or off"
        case "open":
            return f"{PAGE_CLOSED}open to everybody who reaches it, without a key"
        case "proxy":
            return f"{PAGE_CLOSED}open through the trusted proxy only"
        case _:
            return f"{PAGE_CLOSED}{access}"
