"""The page as a FastAPI application; knows neither Ray nor the process that it runs in."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import gradio as gr
from fastapi import FastAPI

from samples.drawings import draw_lesion, draw_series
from ui.client import ApiClient
from ui.config import UiConfig
from ui.document import OwnDocument
from ui.example_tiles import Example, make_example
from ui.page import build_page
from ui.services import Services
from ui.theme import STYLE_SHEET, build_theme
from ui.uploads import UploadFolder

QUEUE_LOOK_S = 0.1
_SWEEPS_PER_AGE = 20  # with an age limit of ten minutes, every 30 s
_UPLOAD_FACTOR = 4  # a photo somewhat too large gets our sentence; only a far larger one gets Gradio's


def build_site(config: UiConfig, uploads: UploadFolder, api: ApiClient | None = None) -> FastAPI:
    """Build the page.

    Args:
        uploads: the folder that ``GRADIO_TEMP_DIR`` names already: Gradio reads it while the page is built.
        api: asks at ``config.api_url`` when left out.
    """
    services = Services(api=api or ApiClient(config.api_url, deadline_s=config.deadline_s), uploads=uploads)
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
    site.add_middleware(OwnDocument)
    # Gradio looks into its queue a thousand times a second, which alone keeps 4% of a core busy.
    page._queue.sleep_when_free = page._queue.progress_update_sleep_when_free = QUEUE_LOOK_S
    return gr.mount_gradio_app(
        site,
        page,
        path="/",
        theme=build_theme(),
        css_paths=[STYLE_SHEET],
        max_file_size=_UPLOAD_FACTOR * config.max_photo_bytes,
        show_error=False,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        pwa=False,
    )


def _lesions() -> list[Example]:
    return [make_example(f"Drawing {seed}", [draw_lesion(seed=seed)]) for seed in (1, 2, 3)]


def _series() -> list[Example]:
    return [
        make_example("Five days, getting better", draw_series(improving=True, seed=1)),
        make_example("Five days, getting worse", draw_series(improving=False, seed=2)),
    ]


async def _sweep(uploads: UploadFolder) -> None:
    every_s = uploads.max_age_s / _SWEEPS_PER_AGE
    while True:
        await asyncio.sleep(every_s)
        with contextlib.suppress(OSError):  # what cannot go now is tried again in a moment
            await asyncio.to_thread(uploads.delete_old, within_s=every_s)
