"""The page as a FastAPI application, without Ray; it holds no state of its visitors."""

import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial

from fastapi import FastAPI, Request
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import HTMLResponse, PlainTextResponse
from PIL import Image

from samples.lesion import draw_lesion
from samples.series import draw_series
from serve.runtime.forwarded_headers import ForwardedHeadersMiddleware, proxy_secrets
from serve.runtime.security_headers import SecurityHeadersMiddleware
from ui.access import AccessMiddleware, SameOriginMiddleware
from ui.client import ApiClient
from ui.config import UiConfig
from ui.document import Document
from ui.errors import add_error_handler
from ui.examples import Example
from ui.gradio_mount import GradioMount
from ui.install import add_install_routes
from ui.memory_files import add_drawn_files, add_files, scripts, styles
from ui.preview_route import add_preview_route
from ui.relay import add_relay
from ui.render_routes import add_render_routes
from ui.rendering import TEMPLATES
from ui.settings import PageSettings
from ui.translation import N_, language_of

_DAYS = 5
_SEEDS = (1, 2, 17)  # by weights/lesion version 5: benign twice, then inconclusive
_POLICY = (  # templates have style attributes; photos are data and blobs
    "default-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors "
)
_CACHEABLE = ("/static/", "/examples/", "/favicon.ico")
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
        needs_key=config.api_key_file is not None,
        deadline_s=config.deadline_s,
        max_photo_bytes=config.max_photo_bytes,
        max_request_bytes=config.max_request_bytes,
        lesion_examples=_lesions(),
        progress_examples=_series(),
    )

    gradio = GradioMount(api, max_body_bytes=int(_BASE64_GROWTH * config.max_request_bytes) + 1_000_000)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await gradio.close()
        await api.close()

    site = FastAPI(lifespan=lifespan, openapi_url=None)
    add_error_handler(site)
    _add_document(site, settings)
    add_files(site, {**scripts(), **styles(), "favicon.ico": (TEMPLATES / "favicon.svg").read_bytes()})
    for example in (*settings.lesion_examples, *settings.progress_examples):
        add_drawn_files(site, example.files)
    add_install_routes(site, settings)
    add_render_routes(site, api)
    add_preview_route(site, max_photo_bytes=config.max_photo_bytes)
    if config.api_key_file:
        add_relay(site, api)
    _add_alive(site)
    site.add_middleware(GZipMiddleware, minimum_size=1000)
    site.add_middleware(SameOriginMiddleware)
    site.add_middleware(AccessMiddleware, access=config.page_access)
    site.add_middleware(ForwardedHeadersMiddleware, secrets=proxy_secrets(config.trusted_proxy))
    site.add_middleware(
        SecurityHeadersMiddleware,
        policy=_POLICY + " ".join(("'self'", *config.embedding_origins)),
        frame_options=None if config.embedding_origins else "SAMEORIGIN",
        cacheable=_CACHEABLE,
    )
    site.mount("/", gradio)
    return site


def _client(config: UiConfig) -> ApiClient:
    key = config.api_key_file.read_text(encoding="ascii").strip() if config.api_key_file else None
    secret = next(iter(proxy_secrets(config.trusted_proxy)), None)
    return ApiClient(config.api_url, deadline_s=config.deadline_s, key=key, proxy_secret=secret)


def _add_document(site: FastAPI, settings: PageSettings) -> None:
    """Add the route of the page itself."""
    document = Document(settings)

    @site.api_route("/", methods=["GET", "HEAD"], response_class=HTMLResponse)
    async def page(request: Request) -> str:
        return document.html(language_of(request.scope))


def _add_alive(site: FastAPI) -> None:
    """Add a route by which the page detects a server that does not answer."""

    @site.get("/alive", response_class=PlainTextResponse)
    async def alive() -> str:
        return "ok"


def _lesions() -> tuple[Example, ...]:
    return tuple(
        Example(
            name=f"lesion-{number}",
            title=N_("Drawing %(number)s"),
            draw=partial(_drawn_lesion, draw_lesion, seed),
            number=number,
        )
        for number, seed in enumerate(_SEEDS, start=1)
    )


def _drawn_lesion(draw: Callable[..., Image.Image], seed: int) -> list[Image.Image]:
    return [draw(seed=seed)]


def _series() -> tuple[Example, ...]:
    return (
        Example(
            name="better",
            title=N_("Five days, getting better"),
            draw=partial(draw_series, improving=True, num_photos=_DAYS, seed=13),
            num_photos=_DAYS,
        ),
        Example(
            name="worse",
            title=N_("Five days, getting worse"),
            draw=partial(draw_series, improving=False, num_photos=_DAYS, seed=7),
            num_photos=_DAYS,
        ),
    )
