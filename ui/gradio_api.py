"""Endpoints for ``gradio_client``: they call the same API with the same limits; photos are text in base64."""

import base64
import binascii
from typing import Any

import gradio as gr
from fastapi import FastAPI

from serve.runtime.forwarded_headers import CLIENT_ADDRESS
from ui.client import ApiClient, ApiError
from ui.gradio_internals import RejectUnknownSessions, lengthen_queue_pauses


class Endpoints:
    """The functions behind ``/lesion``, ``/progress`` and ``/models``."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def lesion(self, photo: str, request: gr.Request) -> dict[str, Any]:
        """Classify one photo of a lesion.

        Args:
            photo: content of the file in base64.

        Returns:
            The answer of ``POST /v1/lesion``.
        """
        with _as_gradio_errors():
            answer = await self._api_of(request).lesion(_decode(photo))
        return answer.model_dump(mode="json")

    async def progress(self, photos: list[str], request: gr.Request) -> dict[str, Any]:
        """Classify a series of photos of one face.

        Args:
            photos: content of each file in base64, oldest first unless they record their dates.

        Returns:
            The answer of ``POST /v1/progress``.
        """
        with _as_gradio_errors():
            answer = await self._api_of(request).progress([_decode(photo) for photo in photos])
        return answer.model_dump(mode="json")

    async def models(self, request: gr.Request) -> dict[str, Any]:
        """Return the loaded networks, as ``GET /v1/models`` does."""
        with _as_gradio_errors():
            models = await self._api_of(request).models()
        return models.model_dump(mode="json")

    def _api_of(self, request: gr.Request) -> ApiClient:
        scope = request.request.scope if request.request is not None else {}
        return self._api.for_visitor(scope.get(CLIENT_ADDRESS))


def build_blocks(endpoints: Endpoints) -> gr.Blocks:
    """Return a Gradio application with the endpoints; it draws nothing (``ui/document.py`` is the page)."""
    with gr.Blocks(title="skinserve", analytics_enabled=False) as blocks:
        for function in (endpoints.lesion, endpoints.progress, endpoints.models):
            gr.api(  # pyright: ignore[reportPrivateImportUsage]: documented, but not in __all__
                function, api_name=function.__name__, queue=False, concurrency_limit=None
            )
    return blocks


def build_gradio(api: ApiClient) -> FastAPI:
    """Return Gradio's application with the endpoints; its lifespan starts its queue."""
    blocks = build_blocks(Endpoints(api))
    lengthen_queue_pauses(blocks)
    app = FastAPI(openapi_url=None)
    app.add_middleware(RejectUnknownSessions, blocks=blocks)
    return gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        show_error=False,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        pwa=False,
    )


class _as_gradio_errors:  # noqa: N801
    """Raise errors of the API as ``gr.Error``, whose message reaches the client."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, ApiError):
            raise gr.Error(f"{error.code}: {error}", print_exception=False) from error


def _decode(photo: str) -> bytes:
    try:
        return base64.b64decode(photo, validate=True)
    except (binascii.Error, ValueError) as error:
        raise gr.Error(
            "invalid_request: the photo is not base64; send base64.b64encode(photo).decode()",
            print_exception=False,
        ) from error
