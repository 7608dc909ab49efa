"""Serve files from memory with an ETag: the browser asks for each one, and gets 304 if it has not changed."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from fastapi import FastAPI, Request, Response

from ui.rendering import TEMPLATES

SCRIPTS = Path(__file__).with_name("static")
OFFLINE_SCRIPT = "static/offline_page.js"
SCREEN_STYLE, PRINT_STYLE = "static/page.css", "static/report.css"
_SCREEN_STYLES = ("page", "lesion", "progress", "after_answer", "history")
_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".ico": "image/svg+xml",  # browsers ask for favicon.ico and accept SVG
}


def add_files(site: FastAPI, files: Mapping[str, bytes]) -> None:
    """Add a route for each file.

    Args:
        files: content by path, relative to the page, with a suffix of ``_TYPES``.
    """
    for path, content in files.items():
        _add_file(site, path, content)


def scripts() -> dict[str, bytes]:
    """Return the page's ES modules by path."""
    return {f"static/{file.name}": file.read_bytes() for file in sorted(SCRIPTS.glob("*.js"))}


def styles() -> dict[str, bytes]:
    """Return the style sheets by path; those of the screen are one file, for a quick first view."""
    screen = b"\n".join(_style(name) for name in _SCREEN_STYLES)
    return {SCREEN_STYLE: screen, PRINT_STYLE: _style("report")}


def _style(name: str) -> bytes:
    return (TEMPLATES / f"{name}.css").read_bytes()


def _add_file(site: FastAPI, path: str, content: bytes) -> None:
    headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"', "Cache-Control": "no-cache"}
    media_type = _TYPES[Path(path).suffix]

    @site.get(f"/{path}")
    async def file(request: Request) -> Response:
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=media_type, headers=headers)
