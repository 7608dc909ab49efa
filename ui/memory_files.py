"""Serve files from memory with an ETag: the browser asks for each one, and gets 304 if it has not changed."""

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from fastapi import FastAPI, Request, Response

from ui.rendering import TEMPLATES

SCRIPTS = Path(__file__).with_name("static")
BUNDLES = SCRIPTS / "bundles"
"""Each holds a script of a document and all modules that it imports: ``make page``."""
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
        _add_file(site, path, _File(content))


def add_drawn_files(site: FastAPI, files: Mapping[str, Callable[[], bytes]]) -> None:
    """Add a route for each file whose content is made in a thread, at its first request.

    Args:
        files: what returns the content by path, relative to the page, with a suffix of ``_TYPES``.
    """
    for path, make in files.items():
        _add_drawn_file(site, path, cache(lambda make=make: _File(make())))


def scripts() -> dict[str, bytes]:
    """Return the script of each document by path."""
    return {f"static/{file.name}": file.read_bytes() for file in sorted(BUNDLES.glob("*.js"))}


def styles() -> dict[str, bytes]:
    """Return the style sheets by path; those of the screen are one file, for a quick first view."""
    screen = b"\n".join(_style(name) for name in _SCREEN_STYLES)
    return {SCREEN_STYLE: screen, PRINT_STYLE: _style("report")}


def _style(name: str) -> bytes:
    return (TEMPLATES / f"{name}.css").read_bytes()


class _File:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self._headers = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
            "Cache-Control": "no-cache",
        }

    def answer(self, request: Request, media_type: str) -> Response:
        if self._headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=self._headers)
        return Response(self._content, media_type=media_type, headers=self._headers)


def _add_file(site: FastAPI, path: str, file: _File) -> None:
    media_type = _TYPES[Path(path).suffix]

    @site.get(f"/{path}")
    async def answer(request: Request) -> Response:
        return file.answer(request, media_type)


def _add_drawn_file(site: FastAPI, path: str, make: Callable[[], _File]) -> None:
    media_type = _TYPES[Path(path).suffix]

    @site.get(f"/{path}")
    def answer(request: Request) -> Response:  # not async: FastAPI calls it in a thread
        return make().answer(request, media_type)
