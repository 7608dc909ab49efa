"""The Progress tab: classify a series of photos of one face as improved or worsened."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any, NamedTuple

import gradio as gr

from serve.progress.schemas import ProgressAnswer
from serve.schemas import MAX_SERIES_PHOTOS, MIN_SERIES_PHOTOS
from ui.cards import error_card, exception_card, guide_card, working_card
from ui.client import ApiClient
from ui.examples import Example, clicked_example, example_tiles
from ui.photo_picker import photo_picker
from ui.preview import Preview, make_preview
from ui.rendering import render
from ui.services import Services
from ui.tabs.progress_dates import chosen_times, dates_card, dates_form
from ui.tabs.progress_result import progress_card
from ui.tabs.titles import TITLES
from ui.theme import html_block
from ui.thumbnails import THUMBNAIL_PX, load_thumbnail

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
        ("Any order.", "Photos are sorted by date; you can enter missing dates."),
    ],
)


class _Update(NamedTuple):
    """Values of the tab's components after an event, in the order of its outputs."""

    picker: Any = gr.skip()
    inputs: Any = gr.skip()
    again: Any = gr.skip()
    dates: Any = gr.skip()
    answer: Any = gr.skip()


def build_progress_tab(services: Services, examples: Sequence[Example]) -> None:
    """Lay out the tab and connect it. Call inside a ``gr.Tab``."""
    html_block(_LEAD)
    again = gr.Button("Compare other photos", visible=False, elem_id="progress-again")
    dates = dates_form()
    answer = html_block("", elem_id="progress-answer")
    with gr.Row(elem_classes="columns") as inputs:
        with gr.Column(scale=6, min_width=300):
            picker = photo_picker(
                services.uploads,
                label="Photos of one face",
                prompt="Drop or paste photos here, or click to choose several",
                multiple=True,
                elem_id="progress-picker",
            )
            compare = gr.Button("Compare", variant="primary", interactive=False, elem_id="progress-compare")
            tiles = example_tiles(examples, elem_id="progress-examples")
        with gr.Column(scale=5, min_width=300):
            html_block(_GUIDE)
    outputs = list(_Update(picker=picker, inputs=inputs, again=again, dates=dates, answer=answer))

    handlers = _Handlers(services, examples)
    quiet = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}
    picker.change(_enable_with_photos, picker, compare, preprocess=False, queue=False, **quiet)
    compare.click(handlers.on_compare, picker, outputs, preprocess=False, **quiet)
    dates.click(handlers.on_dates, picker, outputs, preprocess=False, **quiet)
    tiles.click(handlers.on_example, None, outputs, **quiet)
    again.click(_start_over, None, outputs, **quiet)


_WORKING = working_card("Comparing the photos", "Face detection runs first. This takes a few seconds.")


class _Handlers:
    def __init__(self, services: Services, examples: Sequence[Example]) -> None:
        self._services = services
        self._examples = examples

    async def on_compare(
        self, uploads: list[dict[str, Any]] | None, request: gr.Request | None = None
    ) -> AsyncGenerator[_Update]:
        """Compare the photos; show the form for dates if not every photo has one."""
        async with contextlib.aclosing(
            self._compare(uploads or [], self._services.api_for(request))
        ) as updates:
            async for update in updates:
                yield update

    async def on_dates(
        self, uploads: list[dict[str, Any]] | None, event: gr.EventData, request: gr.Request | None = None
    ) -> AsyncGenerator[_Update]:
        """Compare the photos by the entered dates, or in upload order."""
        api = self._services.api_for(request)
        async with contextlib.aclosing(self._compare(uploads or [], api, chosen_times(event))) as updates:
            async for update in updates:
                yield update

    async def _compare(
        self, uploads: list[dict[str, Any]], api: ApiClient, times: list[str] | None = None
    ) -> AsyncGenerator[_Update]:
        """Compare the photos, then delete them; keep them after an error or for the form.

        Args:
            times: of each photo; empty for the order of the uploads; None before the form was shown.
        """
        if not MIN_SERIES_PHOTOS <= len(uploads) <= MAX_SERIES_PHOTOS:
            yield _Update(answer=_wrong_number(len(uploads)))
            return
        keep = False
        try:
            yield _Update(answer=_WORKING)
            photos = [
                await asyncio.to_thread(self._services.uploads.read, upload, name=f"Photo {number}")
                for number, upload in enumerate(uploads, start=1)
            ]
            found = await api.progress(photos, taken_at=times or [])
            previews = [
                await asyncio.to_thread(load_thumbnail, self._services.uploads, upload) for upload in uploads
            ]
            keep = times is None and _lacks_times(found)
            update = _missing_dates(found, previews) if keep else _answered(found, previews)
        except Exception as error:
            keep = True
            update = _Update(answer=exception_card(error))
        finally:  # also when the browser leaves meanwhile: Gradio then closes this generator
            if not keep:
                self._services.uploads.delete(uploads)
        yield update

    async def on_example(
        self, event: gr.EventData, request: gr.Request | None = None
    ) -> AsyncGenerator[_Update]:
        """Compare the drawings of the clicked example."""
        example = clicked_example(self._examples, event)
        if example is None:
            return
        yield _Update(answer=_WORKING)
        try:
            found = await self._services.api_for(request).progress(example.photos)
            yield _answered(
                found, [make_preview(photo, max_side_px=THUMBNAIL_PX) for photo in example.photos]
            )
        except Exception as error:
            yield _Update(answer=exception_card(error))


def _lacks_times(answer: ProgressAnswer) -> bool:
    return answer.order == "upload"


def _missing_dates(answer: ProgressAnswer, previews: Sequence[Preview | None]) -> _Update:
    return _Update(
        inputs=gr.update(visible=False),
        again=gr.update(visible=True),
        dates=gr.update(value=dates_card(answer, previews), visible=True),
        answer="",
    )


def _answered(answer: ProgressAnswer, previews: Sequence[Preview | None]) -> _Update:
    return _Update(
        picker=[],
        inputs=gr.update(visible=False),
        again=gr.update(visible=True),
        dates=gr.update(value="", visible=False),
        answer=progress_card(answer, previews),
    )


def _enable_with_photos(uploads: list[dict[str, Any]] | None) -> Any:
    return gr.update(interactive=bool(uploads))


async def _start_over() -> _Update:
    return _Update(
        picker=[],
        inputs=gr.update(visible=True),
        again=gr.update(visible=False),
        dates=gr.update(value="", visible=False),
        answer="",
    )


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
