"""What makes the page installable: manifest, icons, service worker, offline page, share target."""

import hashlib
import json
from functools import lru_cache

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse

from serve.schemas import PHOTO_FORMATS
from ui.icons import MASKABLE, icons
from ui.memory_files import PRINT_STYLE, SCREEN_STYLE, SCRIPTS, add_files, scripts, styles
from ui.page import tab_labels
from ui.rendering import TEMPLATES, render
from ui.settings import PageSettings
from ui.tabs.history import history_tab
from ui.translation import direction, language_of, translations

_WORKER = SCRIPTS / "worker" / "sw.js"
_TEAL = "#0b6a6a"


def add_install_routes(site: FastAPI, settings: PageSettings) -> None:
    """Add the routes; all files are in memory."""
    add_files(site, icons())
    offline = lru_cache(lambda language: _offline_page(settings, language))
    shell = {**scripts(), **styles(), "favicon.ico": (TEMPLATES / "favicon.svg").read_bytes()}

    @site.get("/manifest.webmanifest")
    async def manifest(request: Request) -> Response:
        return JSONResponse(_manifest(language_of(request.scope)), media_type="application/manifest+json")

    @site.get("/offline", response_class=HTMLResponse)
    async def offline_page(request: Request) -> str:
        return offline(language_of(request.scope))

    @site.post("/share")
    async def share() -> RedirectResponse:
        """Open the page for a browser whose service worker is gone; the photo is not read."""
        return RedirectResponse("./?shared=none", status_code=303)

    worker = _worker({**shell, "offline": offline("en").encode()})
    add_files(site, {"sw.js": worker})


def _worker(shell: dict[str, bytes]) -> bytes:
    """Return the service worker; browsers install it again when any file of the shell has changed.

    Args:
        shell: content of the files that it caches, by path.
    """
    version = hashlib.sha256(b"".join(shell[path] for path in sorted(shell))).hexdigest()[:16]
    head = f"const VERSION = {json.dumps(version)};\nconst SHELL = {json.dumps(sorted(shell))};\n"
    return head.encode() + _WORKER.read_bytes()


def _offline_page(settings: PageSettings, language: str) -> str:
    return render(
        "offline",
        language,
        settings=settings,
        screen_style=SCREEN_STYLE,
        print_style=PRINT_STYLE,
        history=history_tab(language),
    )


def _manifest(language: str) -> dict[str, object]:
    _ = translations(language).gettext
    labels = tab_labels(language)
    sizes = [(f"icons/{size}.png", f"{size}x{size}", "any") for size in (192, 512)]
    return {
        "id": "./",
        "start_url": "./",
        "scope": "./",
        "name": "skinserve",
        "short_name": "skinserve",
        "description": _(
            "Research software, not a medical device: is a skin lesion harmful, is a face getting better?"
        ),
        "lang": language,
        "dir": direction(language),
        "display": "standalone",
        "theme_color": _TEAL,
        "background_color": "#f4f7f8",
        "launch_handler": {"client_mode": "navigate-new"},  # an open page may have photos
        "icons": [
            {"src": src, "sizes": size, "type": "image/png", "purpose": purpose}
            for src, size, purpose in (*sizes, (MASKABLE, "512x512", "maskable"))
        ],
        "shortcuts": [
            {"name": labels[name], "url": f"./#{name}"} for name in ("lesion", "progress", "history")
        ],
        "share_target": {
            "action": "share",
            "method": "POST",
            "enctype": "multipart/form-data",
            "params": {"files": [{"name": "photos", "accept": [one.mime_type for one in PHOTO_FORMATS]}]},
        },
    }
