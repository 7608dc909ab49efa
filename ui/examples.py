"""Example pictures, drawn by code and one click away; they are in memory and in the page, never on disk."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import gradio as gr
from PIL import ExifTags, Image

from ui.preview import make_preview
from ui.rendering import render

_TILE_PX = 160
_FIRST_DAY = datetime(2024, 3, 1, 9)
_ON_CLICK = """
element.addEventListener('click', event => {
  const tile = event.target.closest('button[data-example]');
  if (tile) trigger('click', {index: Number(tile.dataset.example)});
});
"""


@dataclass(frozen=True, kw_only=True)
class Example:
    """The photos of one example: one for a lesion, several, oldest first, for a series."""

    name: str
    photos: tuple[bytes, ...]


def make_example(name: str, pictures: Sequence[Image.Image]) -> Example:
    """Encode drawn pictures as JPEG, as a camera does, one day apart."""
    days = (_FIRST_DAY + timedelta(days=number) for number in range(len(pictures)))
    return Example(
        name=name, photos=tuple(_as_jpeg(picture, day) for picture, day in zip(pictures, days, strict=True))
    )


def example_tiles(examples: Sequence[Example], *, elem_id: str, note: str = "") -> gr.HTML:
    """Show examples as a row of buttons; a click triggers ``click`` with ``index`` in its data.

    Args:
        note: what an answer to a drawing means.
    """
    tiles = [(example.name, _pictures(example)) for example in examples]
    html = render("example_tiles", tiles=tiles, note=note)
    return gr.HTML(html, elem_id=elem_id, apply_default_css=False, js_on_load=_ON_CLICK)


def clicked_example(examples: Sequence[Example], event: gr.EventData) -> Example | None:
    """Return the clicked example, or None if the browser sends no valid index."""
    try:
        index = event.index
    except (AttributeError, TypeError):  # TypeError: the event has no data at all
        return None
    return examples[index] if isinstance(index, int) and 0 <= index < len(examples) else None


def _pictures(example: Example) -> list[str]:
    shown = example.photos if len(example.photos) == 1 else (example.photos[0], example.photos[-1])
    previews = [make_preview(photo, max_side_px=_TILE_PX) for photo in shown]
    return [preview.data_uri for preview in previews if preview]


def _as_jpeg(picture: Image.Image, taken_at: datetime) -> bytes:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = f"{taken_at:%Y:%m:%d %H:%M:%S}"
    data = io.BytesIO()
    picture.convert("RGB").save(data, "JPEG", quality=92, exif=exif)
    return data.getvalue()
