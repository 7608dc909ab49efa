"""The form of the Progress tab for missing dates, if not every photo records one."""

from collections.abc import Sequence

import gradio as gr

from serve.progress.schemas import ProgressAnswer
from ui.preview import Preview
from ui.rendering import TEMPLATES, render


def dates_form() -> gr.HTML:
    """Return the component, at first hidden; a choice triggers ``click`` with ``times`` in its data."""
    script = (TEMPLATES / "progress_dates.js").read_text(encoding="utf-8")
    return gr.HTML("", elem_id="progress-dates", visible=False, apply_default_css=False, js_on_load=script)


def dates_card(answer: ProgressAnswer, previews: Sequence[Preview | None]) -> str:
    """Render the photos in upload order, with a field for each missing date.

    Args:
        previews: of all photos, in the order of the request.
    """
    photos = sorted(answer.photos, key=lambda photo: photo.index)
    # Without zones: an entered date has none, and the API takes zones for all or for none.
    times = [photo.taken_at and photo.taken_at.replace(tzinfo=None) for photo in photos]
    known = [time for time in times if time]
    return render(
        "progress_dates",
        num_missing=times.count(None),
        is_wrong_order=known != sorted(known),
        photos=list(zip(previews, times, strict=True)),
    )


def chosen_times(event: gr.EventData) -> list[str]:
    """Return the times of the photos in upload order; empty if that order was chosen."""
    try:
        times = event.times
    except (AttributeError, TypeError):  # TypeError: the event has no data at all
        return []
    return [str(time) for time in times] if isinstance(times, list) else []
