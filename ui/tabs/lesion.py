"""The Lesion tab: classify one photo of a lesion."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any, NamedTuple

import gradio as gr

from serve.lesion.schemas import LesionAnswer
from serve.schemas import LoadedModel
from ui.cards import exception_card, guide_card, working_card
from ui.client import ApiClient, ApiError
from ui.examples import Example, clicked_example, example_tiles
from ui.photo_picker import photo_picker
from ui.preview import make_preview
from ui.rendering import render
from ui.services import Services
from ui.tabs.lesion_result import lesion_card, lesion_photo
from ui.tabs.titles import TITLES
from ui.tabs.verdict_errors import VerdictErrors, verdict_errors
from ui.theme import html_block

_LEAD = render(
    "lead",
    title=TITLES["lesion"],
    text="Add one sharp, close photo of one skin lesion. It is classified as soon as it is uploaded.",
)
_GUIDE = guide_card(
    "A suitable photo",
    [
        ("One lesion, from about 10 cm.", "It should fill a quarter to half of the picture."),
        ("Sharp and bright.", "Daylight, no flash, no shadow, no filter."),
        ("Best through a dermatoscope.", "Most training photos are of this kind; some are by phones."),
    ],
)
_ABOUT_DRAWINGS = "It shows how the page works; its answer says nothing about real skin."
_PHOTO_PX = 900
_MODELS_TIMEOUT_S = 2
"""An answer does not wait longer for the metrics of its network."""


class _Update(NamedTuple):
    """Values of the tab's components after an event, in the order of its outputs."""

    picker: Any = gr.skip()
    camera: Any = gr.skip()
    inputs: Any = gr.skip()
    photo: Any = gr.skip()
    again: Any = gr.skip()
    answer: Any = gr.skip()


def build_lesion_tab(services: Services, examples: Sequence[Example]) -> None:
    """Lay out the tab and connect it. Call inside a ``gr.Tab``."""
    html_block(_LEAD)
    again = gr.Button("Check another photo", visible=False, elem_id="lesion-again")
    with gr.Row(elem_classes="columns"):
        with gr.Column(scale=5, min_width=300):
            with gr.Column() as inputs:
                picker = photo_picker(
                    services.uploads,
                    label="Photo of the lesion",
                    prompt="Drop or paste a photo here, or click to choose one",
                    multiple=False,
                    elem_id="lesion-picker",
                )
                camera = _camera()
                tiles = example_tiles(examples, elem_id="lesion-examples", note=_ABOUT_DRAWINGS)
            photo = html_block("", elem_id="lesion-photo", visible=False)
        with gr.Column(scale=6, min_width=300):
            answer = html_block(_GUIDE, elem_id="lesion-answer")
    outputs = list(
        _Update(picker=picker, camera=camera, inputs=inputs, photo=photo, again=again, answer=answer)
    )

    handlers = _Handlers(services, examples)
    quiet = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}
    picker.upload(handlers.on_photo, picker, outputs, preprocess=False, **quiet)
    camera.input(handlers.on_camera, camera, outputs, preprocess=False, **quiet)
    tiles.click(handlers.on_example, None, outputs, **quiet)
    again.click(_start_over, None, outputs, **quiet)


_WORKING = working_card("Classifying the photo", "This takes a second or two.")


class _Handlers:
    def __init__(self, services: Services, examples: Sequence[Example]) -> None:
        self._services = services
        self._examples = examples
        self._model: LoadedModel | None = None

    async def on_photo(
        self, uploads: list[dict[str, Any]] | None, request: gr.Request | None = None
    ) -> AsyncGenerator[_Update]:
        """Classify a photo as soon as it is uploaded; delete it also after an error."""
        if not uploads:
            return
        try:
            yield _Update(answer=_WORKING)
            photo = await asyncio.to_thread(self._services.uploads.read, uploads[0])
            yield await self._answer(photo, self._services.api_for(request))
        except Exception as error:
            yield _reset(exception_card(error))
        finally:
            self._services.uploads.delete(uploads)

    async def on_camera(
        self, upload: dict[str, Any] | None, request: gr.Request | None = None
    ) -> AsyncGenerator[_Update]:
        """Classify a photo of the camera."""
        async with contextlib.aclosing(self.on_photo([upload] if upload else [], request)) as updates:
            async for update in updates:
                yield update

    async def on_example(
        self, event: gr.EventData, request: gr.Request | None = None
    ) -> AsyncGenerator[_Update]:
        """Classify the clicked drawing."""
        example = clicked_example(self._examples, event)
        if example is None:
            return
        yield _Update(answer=_WORKING)
        try:
            yield await self._answer(example.photos[0], self._services.api_for(request))
        except Exception as error:
            yield _reset(exception_card(error))

    async def _answer(self, photo: bytes, api: ApiClient) -> _Update:
        found = await api.lesion(photo)
        preview, errors = await asyncio.gather(
            asyncio.to_thread(make_preview, photo, max_side_px=_PHOTO_PX), self._verdict_errors(found, api)
        )
        return _Update(
            picker=[],
            camera=None,
            inputs=gr.update(visible=False),
            photo=gr.update(value=lesion_photo(preview, found), visible=True),
            again=gr.update(visible=True),
            answer=lesion_card(found, errors),
        )

    async def _verdict_errors(self, answer: LesionAnswer, api: ApiClient) -> VerdictErrors | None:
        """Return how often the network is wrong, from its metrics at the thresholds of the answer."""
        if not answer.usable:
            return None
        model = self._model
        if not _is_model_of(model, answer):
            try:
                loaded = await asyncio.wait_for(api.models(), _MODELS_TIMEOUT_S)
            except (ApiError, TimeoutError):
                return None
            model = self._model = next((one for one in loaded.models if _is_model_of(one, answer)), None)
        return verdict_errors(model) if model else None


def _is_model_of(model: LoadedModel | None, answer: LesionAnswer) -> bool:
    if model is None or (model.name, model.version) != (answer.model.name, answer.model.version):
        return False
    malignant = model.thresholds.get("malignant")
    return (model.thresholds.get("benign", malignant), malignant) == (
        answer.benign_threshold,
        answer.threshold,
    )


def _camera() -> gr.Image:
    """Return the camera input of a computer; a phone's file chooser offers its camera."""
    with gr.Accordion("Use the camera", open=False, elem_id="lesion-camera"):
        return gr.Image(
            sources=["webcam"],
            webcam_options=gr.WebcamOptions(
                mirror=False, constraints={"video": {"facingMode": "environment"}}
            ),
            label="Photo of the lesion",
            show_label=False,
            buttons=[],
            height=340,
        )


def _reset(card: str) -> _Update:
    """Reset the tab for the next photo.

    Args:
        card: guide, or error of the last photo.
    """
    return _Update(
        picker=[],
        camera=None,
        inputs=gr.update(visible=True),
        photo=gr.update(value="", visible=False),
        again=gr.update(visible=False),
        answer=card,
    )


async def _start_over() -> _Update:
    return _reset(_GUIDE)
