"""The page as a FastAPI application, without Ray."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator

import gradio as gr
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

from samples.lesion import draw_lesion
from samples.series import draw_series
from serve.runtime.forwarded_headers import ForwardedHeadersMiddleware, proxy_secrets
from serve.runtime.security_headers import SecurityHeadersMiddleware
from ui.access import AccessMiddleware
from ui.client import ApiClient
from ui.config import UiConfig
from ui.examples import Example, make_example
from ui.gradio_internals import ReplaceHeadTags, lengthen_queue_pauses
from ui.page import build_page
from ui.rendering import TEMPLATES
from ui.services import Services
from ui.theme import STYLE_SHEET, build_theme
from ui.uploads import UploadFolder

_SWEEPS_PER_AGE = 20  # with an age limit of ten minutes, every 30 s
_SEEDS = (1, 2, 17)  # by weights/lesion version 5: benign twice, then inconclusive
_POLICY = (  # Gradio 6.31 has scripts in its pages and evaluates those of gr.HTML; photos are data and blobs
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self' data: blob:; font-src 'self' data:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors "
)
_CACHEABLE = ("/assets/", "/static/", "/theme.css", "/favicon.ico")
_UPLOAD_FACTOR = 4  # up to here a photo that is too large gets our message, above it Gradio's


def build_site(config: UiConfig, uploads: UploadFolder, api: ApiClient | None = None) -> FastAPI:
    """Build the page.

    Args:
        uploads: ``GRADIO_TEMP_DIR`` must name its folder before this call: Gradio reads it while it builds.
        api: a client of ``config.api_url`` if None.
    """
    services = Services(api=api or _client(config), uploads=uploads)
    page = build_page(services, lesion_examples=_lesions(), progress_examples=_series())

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sweeper = asyncio.create_task(_sweep(uploads))
        try:
            yield
        finally:
            sweeper.cancel()
            await services.api.close()
            uploads.delete_all()

    site = FastAPI(lifespan=lifespan, openapi_url=None)
    _add_alive(site)
    site.add_middleware(ReplaceHeadTags, tags=(TEMPLATES / "head.html").read_bytes())
    site.add_middleware(AccessMiddleware, access=config.page_access)
    site.add_middleware(ForwardedHeadersMiddleware, secrets=proxy_secrets(config.trusted_proxy))
    site.add_middleware(
        SecurityHeadersMiddleware,
        policy=_POLICY + " ".join(("'self'", *config.embedding_origins)),
        frame_options=None if config.embedding_origins else "SAMEORIGIN",
        cacheable=_CACHEABLE,
    )
    lengthen_queue_pauses(page)
    return gr.mount_gradio_app(
        site,
        page,
        path="/",
        theme=build_theme(),
        css_paths=[STYLE_SHEET],
        favicon_path=str(TEMPLATES / "favicon.svg"),
        max_file_size=_UPLOAD_FACTOR * config.max_photo_bytes,
        show_error=False,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        pwa=False,
    )


def _client(config: UiConfig) -> ApiClient:
    key = config.api_key_file.read_text(encoding="ascii").strip() if config.api_key_file else None
    secret = next(iter(proxy_secrets(config.trusted_proxy)), None)
    return ApiClient(config.api_url, deadline_s=config.deadline_s, key=key, proxy_secret=secret)


def _add_alive(site: FastAPI) -> None:
    """Add a route that returns a token of this process: the page detects a restart by it."""
    token = secrets.token_hex(8)

    @site.get("/alive", response_class=PlainTextResponse)
    async def alive() -> str:
        return token


def _lesions() -> list[Example]:
    return [
        make_example(f"Drawing {number}", [draw_lesion(seed=seed)])
        for number, seed in enumerate(_SEEDS, start=1)
    ]


def _series() -> list[Example]:
    return [
        make_example("Five days, getting better", draw_series(improving=True, seed=13)),
        make_example("Five days, getting worse", draw_series(improving=False, seed=7)),
    ]


async def _sweep(uploads: UploadFolder) -> None:
    every_s = uploads.max_age_s / _SWEEPS_PER_AGE
    while True:
        await asyncio.sleep(every_s)
        with contextlib.suppress(OSError):  # the next sweep tries again
            await asyncio.to_thread(uploads.delete_old, within_s=every_s)
