"""The Progress tab: classify a series of photos of one face as improved or worsened."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import gradio as gr

from serve.schemas import MAX_SERIES_PHOTOS, MIN_SERIES_PHOTOS, PHOTO_FORMAT_NAMES
from ui.cards import error_card, exception_card, guide_card, working_card
from ui.examples import Example, clicked_example, example_tiles
from ui.preview import make_preview
from ui.rendering import TEMPLATES, render
from ui.services import Services
from ui.tabs.progress_result import progress_card
from ui.tabs.titles import TITLES
from ui.theme import html_block

_LEAD = render(
    "lead",
    title=TITLES["progress"],
    text=f"Add {MIN_SERIES_PHOTOS} to {MAX_SERIES_PHOTOS} photos of one face from different days, "
    "then press Compare.",
)
_GUIDE = guide_card(
    "A suitable series",
    [
        ("The same face, alone,", "from the front, in every photo."),
        ("The same place and light", "each time, without make-up or filter."),
        ("Any order.", "Photos are sorted by time if all of them record it."),
    ],
)
_THUMBNAIL_PX = 320


class _Update(NamedTuple):
    """Values of the tab's components after an event, in the order of its outputs."""

    picker: Any = gr.skip()
    inputs: Any = gr.skip()
    again: Any = gr.skip()
    answer: Any = gr.skip()


def build_progress_tab(services: Services, examples: Sequence[Example]) -> None:
    """Lay out the tab and connect it. Call inside a ``gr.Tab``."""
    html_block(_LEAD)
    again = gr.Button("Compare other photos", visible=False, elem_id="progress-again")
    answer = html_block("", elem_id="progress-answer")
    with gr.Row(elem_classes="columns") as inputs:
        with gr.Column(scale=6, min_width=300):
            picker = _photos_picker(services.uploads.max_photo_bytes)
            compare = gr.Button("Compare", variant="primary", interactive=False, elem_id="progress-compare")
            tiles = example_tiles(examples, elem_id="progress-examples")
        with gr.Column(scale=5, min_width=300):
            html_block(_GUIDE)
    outputs = list(_Update(picker=picker, inputs=inputs, again=again, answer=answer))

    handlers = _Handlers(services, examples)
    quiet = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}
    picker.change(_enable_with_photos, picker, compare, preprocess=False, queue=False, **quiet)
    compare.click(handlers.on_compare, picker, outputs, preprocess=False, **quiet)
    tiles.click(handlers.on_example, None, outputs, **quiet)
    again.click(_start_over, None, outputs, **quiet)


_WORKING = working_card("Comparing the photos", "Face detection runs first. This takes a few seconds.")


class _Handlers:
    def __init__(self, services: Services, examples: Sequence[Example]) -> None:
        self._services = services
        self._examples = examples

    async def on_compare(self, uploads: list[dict[str, Any]] | None) -> AsyncIterator[_Update]:
        """Compare the photos, then delete them; after an error a wrong one can be removed."""
        uploads = uploads or []
        if not MIN_SERIES_PHOTOS <= len(uploads) <= MAX_SERIES_PHOTOS:
            yield _Update(answer=_wrong_number(len(uploads)))
            return
        failed = False
        try:
            yield _Update(answer=_WORKING)
            photos = [
                await asyncio.to_thread(self._services.uploads.read, upload, name=f"Photo {number}")
                for number, upload in enumerate(uploads, start=1)
            ]
            update = await _answer(self._services, photos)
        except Exception as error:
            failed = True
            update = _Update(answer=exception_card(error))
        finally:  # also when the browser leaves meanwhile: Gradio then closes this generator
            if not failed:
                self._services.uploads.delete(uploads)
        yield update

    async def on_example(self, event: gr.EventData) -> AsyncIterator[_Update]:
        """Compare the drawings of the clicked example."""
        example = clicked_example(self._examples, event)
        if example is None:
            return
        yield _Update(answer=_WORKING)
        try:
            yield await _answer(self._services, example.photos)
        except Exception as error:
            yield _Update(answer=exception_card(error))


def _photos_picker(max_bytes: int) -> gr.HTML:
    """Return a picker of several photos; its value is a list of ``{"path", "url", "name"}``.

    Gradio's gallery answers a file of a wrong type with "An error occurred", and its list of files shows no
    pictures. This one uploads any file, and the API's error says what is wrong with it.
    """
    return gr.HTML(
        [],
        html_template=(TEMPLATES / "picker.html").read_text(encoding="utf-8"),
        js_on_load=(TEMPLATES / "picker.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        elem_id="progress-picker",
        formats=PHOTO_FORMAT_NAMES,
        max_mb=round(max_bytes / 1e6),
        uploading=0,
        problem="",
    )


async def _answer(services: Services, photos: Sequence[bytes]) -> _Update:
    found = await services.api.progress(photos)
    previews = [await asyncio.to_thread(make_preview, photo, max_side_px=_THUMBNAIL_PX) for photo in photos]
    return _Update(
        picker=[],
        inputs=gr.update(visible=False),
        again=gr.update(visible=True),
        answer=progress_card(found, previews),
    )


def _enable_with_photos(uploads: list[dict[str, Any]] | None) -> Any:
    return gr.update(interactive=bool(uploads))


async def _start_over() -> _Update:
    return _Update(picker=[], inputs=gr.update(visible=True), again=gr.update(visible=False), answer="")


def _wrong_number(num_photos: int) -> str:
    if num_photos > MAX_SERIES_PHOTOS:
        return error_card(
            "too_many_photos",
            f"You added {num_photos} photos; at most {MAX_SERIES_PHOTOS} can be compared. Remove some.",
        )
    found = "There is no photo yet" if num_photos == 0 else "There is one photo only"
    return error_card(
        "too_few_photos",
        f"{found}; at least {MIN_SERIES_PHOTOS} are needed. Add photos of the same face from other days.",
    )
