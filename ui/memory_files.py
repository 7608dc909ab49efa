"""Serve files from memory with an ETag: the browser asks for each one, and gets 304 if it has not changed."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from fastapi import FastAPI, Request, Response

SCRIPTS = Path(__file__).with_name("static")
_TYPES = {".js": "text/javascript; charset=utf-8", ".jpg": "image/jpeg"}


def add_files(site: FastAPI, files: Mapping[str, bytes]) -> None:
    """Add a route for each file.

    Args:
        files: content by path, relative to the page, with a suffix .js or .jpg.
    """
    for path, content in files.items():
        _add_file(site, path, content)


def scripts() -> dict[str, bytes]:
    """Return the page's ES modules by path."""
    return {f"static/{file.name}": file.read_bytes() for file in sorted(SCRIPTS.glob("*.js"))}


def _add_file(site: FastAPI, path: str, content: bytes) -> None:
    headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"', "Cache-Control": "no-cache"}
    media_type = _TYPES[Path(path).suffix]

    @site.get(f"/{path}")
    async def file(request: Request) -> Response:
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=media_type, headers=headers)
