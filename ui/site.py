"""The page as a FastAPI application, without Ray; it holds no state of its visitors."""

import contextlib
from collections.abc import AsyncIterator

import gradio as gr
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

from samples.lesion import draw_lesion
from samples.series import draw_series
from serve.runtime.forwarded_headers import ForwardedHeadersMiddleware, proxy_secrets
from serve.runtime.security_headers import SecurityHeadersMiddleware
from ui.access import AccessMiddleware, SameOriginMiddleware
from ui.client import ApiClient
from ui.config import UiConfig
from ui.document import Document
from ui.errors import add_error_handler
from ui.examples import Example, make_example
from ui.gradio_api import Endpoints
from ui.gradio_internals import (
    CloseGradioRoutes,
    RejectUnknownSessions,
    ReplaceHeadTags,
    lengthen_queue_pauses,
)
from ui.memory_files import add_files, scripts
from ui.page import build_page
from ui.preview_route import add_preview_route
from ui.relay import add_relay
from ui.render_routes import add_render_routes
from ui.rendering import TEMPLATES
from ui.settings import PageSettings
from ui.theme import STYLE_SHEETS, build_theme
from ui.translation import N_, language_of

_SEEDS = (1, 2, 17)  # by weights/lesion version 5: benign twice, then inconclusive
_POLICY = (  # Gradio 6.31 has inline scripts and styles in its document; photos are data and blobs
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; font-src 'self' data:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors "
)
_CACHEABLE = ("/assets/", "/static/", "/examples/", "/theme.css", "/favicon.ico")
_API = "../v1/"
_RELAY = "v1/"
_BASE64_GROWTH = 4 / 3


def build_site(config: UiConfig, api: ApiClient | None = None) -> FastAPI:
    """Build the page.

    Args:
        api: a client of ``config.api_url`` if None.
    """
    api = api or _client(config)
    settings = PageSettings(
        api=_RELAY if config.api_key_file else _API,
        deadline_s=config.deadline_s,
        max_photo_bytes=config.max_photo_bytes,
        max_request_bytes=config.max_request_bytes,
        lesion_examples=_lesions(),
        progress_examples=_series(),
    )
    document = Document(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await api.close()

    site = FastAPI(lifespan=lifespan, openapi_url=None)
    add_error_handler(site)
    add_files(site, scripts())
    for example in (*settings.lesion_examples, *settings.progress_examples):
        add_files(site, example.files)
    add_render_routes(site, api)
    add_preview_route(site, max_photo_bytes=config.max_photo_bytes)
    if config.api_key_file:
        add_relay(site, api)
    _add_alive(site)
    page = build_page(Endpoints(api))
    lengthen_queue_pauses(page)
    max_call_bytes = int(_BASE64_GROWTH * config.max_request_bytes) + 1_000_000
    site.add_middleware(RejectUnknownSessions, page=page)
    site.add_middleware(CloseGradioRoutes, max_body_bytes=max_call_bytes)
    site.add_middleware(ReplaceHeadTags, parts=lambda scope: document.parts(language_of(scope)))
    site.add_middleware(SameOriginMiddleware)
    site.add_middleware(AccessMiddleware, access=config.page_access)
    site.add_middleware(ForwardedHeadersMiddleware, secrets=proxy_secrets(config.trusted_proxy))
    site.add_middleware(
        SecurityHeadersMiddleware,
        policy=_POLICY + " ".join(("'self'", *config.embedding_origins)),
        frame_options=None if config.embedding_origins else "SAMEORIGIN",
        cacheable=_CACHEABLE,
    )
    return gr.mount_gradio_app(
        site,
        page,
        path="/",
        theme=build_theme(),
        css_paths=STYLE_SHEETS,
        favicon_path=str(TEMPLATES / "favicon.svg"),
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
    """Add a route by which the page detects a server that does not answer."""

    @site.get("/alive", response_class=PlainTextResponse)
    async def alive() -> str:
        return "ok"


def _lesions() -> tuple[Example, ...]:
    return tuple(
        make_example(f"lesion-{number}", N_("Drawing %(number)s"), [draw_lesion(seed=seed)], number=number)
        for number, seed in enumerate(_SEEDS, start=1)
    )


def _series() -> tuple[Example, ...]:
    return (
        make_example("better", N_("Five days, getting better"), draw_series(improving=True, seed=13)),
        make_example("worse", N_("Five days, getting worse"), draw_series(improving=False, seed=7)),
    )
