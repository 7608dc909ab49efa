"""What the Progress tab shows: the verdict, the plot, and the photos in time order with the faces found."""

from collections.abc import Sequence

from serve.schemas import Box, PhotoReport, ProgressAnswer
from ui.html_parts import disclaimer_note, icon, percent, percent_text, whole_percent
from ui.preview import Preview
from ui.tabs.progress_plot import HALF, progress_plot

_HEADLINE = {"improved": "Improved", "worsened": "Worsened"}
_MEANING = {
    "improved": "The skin looks better in the later photos than in the earlier ones.",
    "worsened": "The skin looks worse in the later photos than in the earlier ones.",
}
_NO_CLEAR_CHANGE = "The two are close: the photos show no clear change."
_CLOSE = 0.1  # of one half
_ORDER = {
    "taken_at": "in the order of the times that you gave",
    "exif": "in the order in which they were taken, as the photos themselves say",
    "upload": "in the order in which you added them, because not every photo says when it was taken",
}


def progress_card(answer: ProgressAnswer, previews: Sequence[Preview | None]) -> str:
    """The whole answer about one series.

    Args:
        previews: of all photos, in the order of the request; ``PhotoReport.index`` points into it.
    """
    return (
        f'<section class="answer" data-verdict="{answer.verdict}">'
        f'<div class="answer-columns">{_verdict(answer)}'
        f'<div class="card"><h3>How it moved, photo by photo</h3>'
        f"{progress_plot([photo.improved_probability_so_far for photo in answer.photos])}</div></div>"
        f"{_photos(answer, previews)}</section>"
    )


def _verdict(answer: ProgressAnswer) -> str:
    improved = whole_percent(answer.improved_probability, limit=HALF)
    width = 100 * answer.improved_probability
    close = abs(answer.improved_probability - HALF) < _CLOSE
    meaning = _NO_CLEAR_CHANGE if close else _MEANING[answer.verdict]
    return (
        f'<div class="card verdict {answer.verdict}"><div class="verdict-head">{icon(answer.verdict)}'
        f"<div><h3>{_HEADLINE[answer.verdict]}</h3><p>{meaning}</p></div></div>"
        f'<div class="versus"><p class="improved"><b>{percent_text(improved)}</b> improved</p>'
        f'<p class="worsened"><b>{percent_text(100 - improved)}</b> worsened</p>'
        f'<div class="split" aria-hidden="true"><i class="improved" style="width:{width:.1f}%"></i>'
        f'<i class="worsened"></i></div></div>{disclaimer_note(answer.disclaimer)}</div>'
    )


def _photos(answer: ProgressAnswer, previews: Sequence[Preview | None]) -> str:
    left_out = sum(photo.face is None for photo in answer.photos)
    line = f"{len(answer.photos)} photos, {_ORDER[answer.order]}."
    if left_out:
        line += f" {left_out} {'has' if left_out == 1 else 'have'} no face in view and changed nothing."
    tiles = "".join(
        _tile(number, photo, previews[photo.index]) for number, photo in enumerate(answer.photos, start=1)
    )
    return (
        f'<div class="card"><h3>Your photos, oldest first</h3><p class="muted">{line}</p>'
        f'<ol class="photos">{tiles}</ol>'
        f'<p class="muted small">{answer.model.name}, version {answer.model.version}</p></div>'
    )


def _tile(number: int, photo: PhotoReport, preview: Preview | None) -> str:
    when = f"{photo.taken_at:%d %b %Y}" if photo.taken_at else ""
    so_far = photo.improved_probability_so_far
    if photo.face is None:
        state, note = "left-out", f"{icon('no_face')}no face found: left out"
    elif so_far is None:
        state, note = "kept", f"{icon('face')}face found<br>the start"
    else:
        state, note = "kept", f"{icon('face')}face found<br>{percent(so_far, limit=HALF)} improved so far"
    picture = _picture(number, photo, preview) if preview else ""
    return (
        f'<li class="{state}"><div class="thumb">{picture}</div>'
        f"<p><b>Photo {number}</b> <span>{when}</span></p><p>{note}</p></li>"
    )


def _picture(number: int, photo: PhotoReport, preview: Preview) -> str:
    width, height = preview.width_px, preview.height_px
    fit = f"aspect-ratio:{width}/{height};{'width' if width >= height else 'height'}:100%"
    box = _face_box(photo.face.box, preview) if photo.face else ""
    return f'<div class="fit" style="{fit}"><img alt="Photo {number}" src="{preview.data_uri}">{box}</div>'


def _face_box(box: Box, preview: Preview) -> str:
    width, height = preview.width_px, preview.height_px
    left, top = max(box.left, 0) / width, max(box.top, 0) / height
    right, bottom = min(box.right, width) / width, min(box.bottom, height) / height
    return (
        f'<span class="face-box" style="left:{left:.2%};top:{top:.2%};'
        f'width:{right - left:.2%};height:{bottom - top:.2%}"></span>'
    )
