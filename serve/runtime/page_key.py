"""Create the API key of the page at each start; describe its access."""

import os
from pathlib import Path
from typing import Any

from serve.runtime.keys_file import key_digest, new_key

PAGE_ACCESS_PREFIX = "the page is "
"""Start of the message of a page that is off or behind a proxy; the supervisor searches for it."""


def secure_page(api: dict[str, Any], page: dict[str, Any] | None, home: Path) -> str | None:
    """Create a key for the page if the API needs one and none is configured.

    Args:
        api: ``args`` of the API application; the digest is added.
        page: ``args`` of the page, to which the file is added; None: there is no page.
        home: folder of the server, readable by its user only.

    Returns:
        Notice for the operator; None: no keys are required.
    """
    keys_file = (api.get("gateway") or {}).get("keys_file")
    if keys_file is None:
        return None
    required = f"every request needs a key of {keys_file}, health checks excepted"
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
    return f"{required}; {_access_notice(page.get('access'))}"


def _access_notice(access: str | None) -> str:
    match access:
        case None:
            return f"{PAGE_ACCESS_PREFIX}off, as access is not set in its args: open, proxy or off"
        case "open":
            return f"{PAGE_ACCESS_PREFIX}open to everybody who reaches it, without a key"
        case "proxy":
            return f"{PAGE_ACCESS_PREFIX}open through the trusted proxy only"
        case _:
            return f"{PAGE_ACCESS_PREFIX}{access}"
