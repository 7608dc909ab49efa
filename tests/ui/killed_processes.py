"""The page and the API as two processes that a test kills in the middle of a request and starts again."""

import asyncio
import io
import multiprocessing
import random
import re
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

import httpx
import pytest
import uvicorn
from PIL import Image
from starlette.types import ASGIApp, Receive, Scope, Send

import ui.site
from tests.ui.conftest import FakeApi, patch_examples
from ui.config import UiConfig

START_TIMEOUT_S = 120


class HeldRequests:
    """Requests that a process does not answer until it is killed; a file has a pattern of their paths."""

    def __init__(self, folder: Path) -> None:
        self._pattern, self._arrived = folder / "pattern", folder / "arrived"

    def hold(self, pattern: str) -> None:
        """Hold the next requests whose path has a match."""
        self._arrived.unlink(missing_ok=True)
        self._pattern.write_text(pattern)

    def release(self) -> None:
        """Answer requests again."""
        self._pattern.unlink(missing_ok=True)

    def has_arrived(self) -> bool:
        return self._arrived.exists()

    def _is_held(self, path: str) -> bool:
        return self._pattern.exists() and re.search(self._pattern.read_text(), path) is not None

    def around(self, site: ASGIApp) -> ASGIApp:
        async def held(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and self._is_held(scope["path"]):
                while (await receive()).get("more_body"):
                    pass
                self._arrived.touch()
                await asyncio.Event().wait()
            await site(scope, receive, send)

        return held


def serve_api(port: int, folder: Path) -> None:
    """Serve the fake API."""
    _serve(HeldRequests(folder).around(FakeApi().app()), port)


def serve_page(port: int, folder: Path, api_port: int) -> None:
    """Serve the page, which relays to the API."""
    key = folder / "key"
    key.write_text("skin_key-of-the-page\n")
    config = UiConfig(api_url=f"http://127.0.0.1:{api_port}", api_key_file=key, access="open")
    with pytest.MonkeyPatch.context() as patch:
        patch_examples(patch)
        _serve(HeldRequests(folder).around(ui.site.build_site(config)), port)


def _serve(site: ASGIApp, port: int) -> None:
    uvicorn.run(site, port=port, log_level="error", lifespan="off")


class KilledProcess:
    """One process on one port."""

    def __init__(self, target: Callable[..., None], folder: Path, *others: int) -> None:
        folder.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.held = HeldRequests(folder)
        self._target, self._arguments = target, (self.port, folder, *others)
        self._process: BaseProcess | None = None

    def start(self) -> None:
        """Start the process, unless it runs, and wait until it answers."""
        if self._process is not None:
            return
        self._process = multiprocessing.get_context("spawn").Process(
            target=self._target, args=self._arguments
        )
        self._process.start()
        until = time.monotonic() + START_TIMEOUT_S
        while True:
            with suppress(httpx.TransportError):
                httpx.get(f"http://127.0.0.1:{self.port}/alive", trust_env=False)
                return
            assert self._process.is_alive() and time.monotonic() < until
            time.sleep(0.05)

    def kill(self) -> None:
        """End the process at once; open connections break."""
        self.held.release()
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None


def noise(size_px: int, *, seed: int) -> bytes:
    """Return a large photo, for an upload that takes a while."""
    photo = io.BytesIO()
    pixels = random.Random(seed).randbytes(3 * size_px * size_px)
    Image.frombytes("RGB", (size_px, size_px), pixels).save(photo, "JPEG", quality=90)
    return photo.getvalue()
