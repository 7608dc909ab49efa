"""Example pictures, drawn by code and one click away; they live in memory and in the page, never on disk."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import gradio as gr
from PIL import Image

from ui.preview import make_preview

_TILE_PX = 160
_ON_CLICK = """
element.addEventListener('click', event => {
  const tile = event.target.closest('button[data-example]');
  if (tile) trigger('click', {index: Number(tile.dataset.example)});
});
"""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One click's worth of photos: one for a lesion, several, oldest first, for a series."""

    name: str
    photos: tuple[bytes, ...]


def make_example(name: str, pictures: Sequence[Image.Image]) -> Example:
    """Turn drawn pictures into photos such as a camera would send."""
    return Example(name=name, photos=tuple(_as_jpeg(picture) for picture in pictures))


def example_tiles(examples: Sequence[Example], *, elem_id: str) -> gr.HTML:
    """Show examples as a row of buttons; a click triggers ``click`` with ``index`` in its data."""
    tiles = "".join(_tile(index, example) for index, example in enumerate(examples))
    html = (
        f'<div class="examples"><p>No photo at hand? Try a drawing:</p><div class="tiles">{tiles}</div></div>'
    )
    return gr.HTML(html, elem_id=elem_id, apply_default_css=False, js_on_load=_ON_CLICK)


def clicked_example(examples: Sequence[Example], event: gr.EventData) -> Example | None:
    """The example that was clicked; None if the browser names one that is not there."""
    index = event._data.get("index") if isinstance(event._data, dict) else None
    return examples[index] if isinstance(index, int) and 0 <= index < len(examples) else None


def _tile(index: int, example: Example) -> str:
    shown = example.photos if len(example.photos) == 1 else (example.photos[0], example.photos[-1])
    previews = [make_preview(photo, max_side_px=_TILE_PX) for photo in shown]
    images = "".join(f'<img alt="" src="{preview.data_uri}">' for preview in previews if preview)
    return (
        f'<button type="button" class="tile" data-example="{index}"><span class="tile-images">{images}</span>'
        f"<span>{escape(example.name)}</span></button>"
    )


def _as_jpeg(picture: Image.Image) -> bytes:
    data = io.BytesIO()
    picture.convert("RGB").save(data, "JPEG", quality=92)
    return data.getvalue()
