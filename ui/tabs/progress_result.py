"""The result of the Progress tab: verdict, plot, and the photos in time order with the faces found."""

from collections.abc import Sequence

from serve.progress.schemas import Box, PhotoReport, ProgressAnswer
from ui.preview import Preview
from ui.rendering import css_percent, format_percent, render
from ui.tabs.change_thresholds import thresholds_of, thresholds_text, whole_percent_improved
from ui.tabs.progress_plot import progress_plots

_HALF = 0.5
_CLOSE = 0.1  # to one half
_TITLES = {
    "improved": "Improved",
    "worsened": "Worsened",
    "no_clear_change": "No clear change",
    "inconclusive": "Inconclusive",
}
_ADVICE = {
    "different_people": (
        "Send photos of one person only.",
        "Crop other people out, or take the photo alone.",
        "If all photos show you, leave out the marked ones: a mask or a strong profile can hide a face.",
    ),
    "few_faces": (
        "Send at least two photos that show the whole face from the front.",
        "Take them in daylight, sharp, without a mask or a hand in front of the face.",
    ),
    "no_clear_change": (
        "Compare again after some weeks.",
        "Take every photo at the same place, in the same light, without make-up or filter.",
        "If your skin worries you, show it to a doctor. No clear change does not mean healthy.",
    ),
}
"""What to do, by the code of the reason that decided the verdict."""
_ORDER = {
    "taken_at": "They are sorted by the recorded and the entered dates.",
    "exif": "They are sorted by the dates that the photos record.",
    "upload": "Not every photo records its date. If the first one is not the oldest, add them again, "
    "oldest first.",
}


def progress_card(answer: ProgressAnswer, previews: Sequence[Preview | None]) -> str:
    """Render the answer for one series.

    Args:
        previews: of all photos, in the order of the request; ``PhotoReport.index`` points into it.
    """
    thresholds = thresholds_of(answer)
    improved = whole_percent_improved(answer.improved_probability, thresholds)
    blocking = [reason for reason in answer.reasons if reason.code in _ADVICE]
    is_change = answer.verdict in ("improved", "worsened")
    return render(
        "progress_result",
        answer=answer,
        title=_TITLES[answer.verdict],
        tone=answer.verdict if is_change else "inconclusive",
        blocking=[reason.message for reason in blocking if answer.verdict == "inconclusive"],
        advice=[step for reason in blocking for step in _ADVICE[reason.code]],
        is_close=abs(answer.improved_probability - _HALF) < _CLOSE,
        improved=format_percent(improved),
        worsened=format_percent(100 - improved),
        plots=progress_plots([photo.improved_probability_so_far for photo in answer.photos], thresholds),
        thresholds=thresholds_text(thresholds),
        order=_ORDER[answer.order],
        reasons=[
            reason.message
            for reason in answer.reasons
            if reason.code != "times_missing" and reason not in blocking
        ],
        num_excluded=sum(photo.face is None for photo in answer.photos),
        photos=[
            (
                photo,
                None if so_far is None else format_percent(whole_percent_improved(so_far, thresholds)),
                _thumbnail(photo, previews[photo.index]),
            )
            for photo in answer.photos
            for so_far in (photo.improved_probability_so_far,)
        ],
    )


def _thumbnail(photo: PhotoReport, preview: Preview | None) -> dict[str, str | None] | None:
    if preview is None:
        return None
    width, height = preview.width_px, preview.height_px
    return {
        "data_uri": preview.data_uri,
        "fit": f"aspect-ratio:{width}/{height};{'width' if width >= height else 'height'}:100%",
        "face_box": _face_box(photo.face.box, preview) if photo.face else None,
    }


def _face_box(box: Box, preview: Preview) -> str:
    width, height = preview.width_px, preview.height_px
    left, top = max(box.left, 0) / width, max(box.top, 0) / height
    right, bottom = min(box.right, width) / width, min(box.bottom, height) / height
    return (
        f"left:{css_percent(left)};top:{css_percent(top)};"
        f"width:{css_percent(right - left)};height:{css_percent(bottom - top)}"
    )
