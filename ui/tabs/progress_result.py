"""The result of the Progress tab: verdict, plot over time, before and after, and the photos with their faces.

The browser places its own photos into the HTML: ``data-photo`` is the position of a photo in the request,
``data-box`` and ``data-face`` the box of its face in pixels of the upright photo, ``data-eyes`` the eyes.
"""

from serve.progress.schemas import PhotoReport, ProgressAnswer, VerdictThresholds
from serve.schemas import MIN_SERIES_PHOTOS, LoadedModel
from ui.rendering import format_percent, percent, render
from ui.tabs.change_errors import false_change_rate
from ui.tabs.change_thresholds import thresholds_of, whole_percent_improved
from ui.tabs.progress_plot import progress_plots
from ui.tabs.series_reasons import series_reason
from ui.translation import DEFAULT_LANGUAGE

_HALF = 0.5
_CLOSE = 0.1  # to one half
_DECIDING = frozenset({"different_people", "few_faces", "no_clear_change"})
"""Reasons for a verdict other than improved and worsened, each with advice in the template."""


def progress_card(
    answer: ProgressAnswer, language: str = DEFAULT_LANGUAGE, model: LoadedModel | None = None
) -> str:
    """Render the answer for one series in a language.

    Args:
        model: the network that answered, with its metrics; None if they are not known.
    """
    thresholds = thresholds_of(answer)
    improved = whole_percent_improved(answer.improved_probability, thresholds)
    deciding = [reason for reason in answer.reasons if reason.code in _DECIDING]
    is_change = answer.verdict in ("improved", "worsened")
    shown_so_far = [
        _both_percents(photo.improved_probability_so_far, thresholds, language) for photo in answer.photos
    ]
    is_dated = answer.order != "upload"
    others = _other_people(answer)
    return render(
        "progress_result",
        language,
        answer=answer,
        tone=answer.verdict if is_change else "inconclusive",
        blocking=[
            series_reason(reason, answer, language) for reason in deciding if answer.verdict == "inconclusive"
        ],
        deciding=[reason.code for reason in deciding],
        false_changes=false_change_rate(model, language) if model and is_change else None,
        is_close=abs(answer.improved_probability - _HALF) < _CLOSE,
        improved=format_percent(improved, language),
        worsened=format_percent(100 - improved, language),
        plots=progress_plots(
            [photo.improved_probability_so_far for photo in answer.photos],
            [photo.taken_at if is_dated else None for photo in answer.photos],
            thresholds,
            language,
        ),
        improved_from=percent(thresholds.improved, limit=thresholds.improved, language=language),
        worsened_from=None
        if thresholds.worsened is None
        else percent(thresholds.worsened, limit=thresholds.worsened, language=language),
        weakening=[
            series_reason(reason, answer, language)
            for reason in answer.reasons
            if reason.code not in ("times_missing", "light_differs") and reason not in deciding
        ],
        light=[
            series_reason(reason, answer, language)
            for reason in answer.reasons
            if reason.code == "light_differs"
        ],
        num_excluded=sum(photo.face is None for photo in answer.photos),
        is_renumbered=[photo.index for photo in answer.photos] != list(range(len(answer.photos))),
        photos=[(photo, *percents) for photo, percents in zip(answer.photos, shown_so_far, strict=True)],
        faces=[(number, photo) for number, photo in enumerate(answer.photos, start=1) if _is_used(photo)],
        others=others,
        other_numbers=", ".join(str(index + 1) for index in others),
        box_text=_box_text,
        eyes_text=_eyes_text,
    )


def _both_percents(
    improved_so_far: float | None, thresholds: VerdictThresholds, language: str
) -> tuple[str | None, str | None]:
    """Return the probabilities of improvement and of worsening after a photo as text."""
    if improved_so_far is None:
        return None, None
    whole = whole_percent_improved(improved_so_far, thresholds)
    return format_percent(whole, language), format_percent(100 - whole, language)


def _is_used(photo: PhotoReport) -> bool:
    return photo.face is not None and photo.same_person is not False


def _other_people(answer: ProgressAnswer) -> list[int]:
    """Return the positions of photos of another person, if enough others remain for a comparison."""
    others = [photo.index for photo in answer.photos if photo.face and photo.same_person is False]
    num_faces = sum(_is_used(photo) for photo in answer.photos)
    return others if num_faces >= MIN_SERIES_PHOTOS else []


def _box_text(photo: PhotoReport) -> str:
    """Return the box of the face for ``data-box``: left, top, right and bottom in pixels."""
    assert photo.face is not None
    box = photo.face.box
    return ",".join(f"{edge:g}" for edge in (box.left, box.top, box.right, box.bottom))


def _eyes_text(photo: PhotoReport) -> str:
    """Return the eyes for ``data-eyes``: x and y of the left and of the right eye in pixels."""
    assert photo.face is not None and photo.face.eyes is not None
    eyes = photo.face.eyes
    return ",".join(f"{value:g}" for value in (eyes.left.x, eyes.left.y, eyes.right.x, eyes.right.y))
