"""Pieces of HTML that more than one tab shows. Everything that is not ours is escaped here."""

import math
from html import escape

from serve.schemas import DISCLAIMER, DiagnosisScore, Risk

# 24 x 24 outlines, drawn here. Each verdict has a shape of its own, so that colour is never the only signal.
_PATHS = {
    "benign": '<circle cx="12" cy="12" r="9"/><path d="M8 12.4l2.7 2.7L16.2 9.5"/>',
    "malignant": '<path d="M12 3.6L21.4 20H2.6z"/><path d="M12 10v4.4M12 17.1v.3"/>',
    "improved": '<circle cx="12" cy="12" r="9"/><path d="M8.6 15.4l6.8-6.8M10 8.6h5.4V14"/>',
    "worsened": '<path d="M12 2.8l9.2 9.2-9.2 9.2L2.8 12z"/><path d="M9 9l6 6M15 10.2V15h-4.8"/>',
    "error": '<rect x="3.5" y="3.5" width="17" height="17" rx="5"/><path d="M12 8v5M12 16v.3"/>',
    "shield": (
        '<path d="M12 3l7.5 2.8v5.4c0 4.6-3.1 8-7.5 9.8-4.4-1.8-7.5-5.2-7.5-9.8V5.8z"/>'
        '<path d="M12 8.6v4M12 15.6v.3"/>'
    ),
    "face": '<circle cx="12" cy="12" r="9"/><path d="M9 10v.3M15 10v.3M8.8 14.6c1.8 1.8 4.6 1.8 6.4 0"/>',
    "no_face": (
        '<circle cx="12" cy="12" r="9" stroke-dasharray="3 2.6"/><path d="M8.5 8.5l7 7M15.5 8.5l-7 7"/>'
    ),
}

_ERROR_TITLES = {
    "unreadable_image": "This file could not be read",
    "unsupported_type": "This kind of file does not work",
    "too_large": "This is too large",
    "too_many_pixels": "This photo is too large",
    "no_face": "No face was found",
    "too_few_photos": "More photos are needed",
    "too_many_photos": "These are too many photos",
    "overloaded": "Busy at the moment",
    "deadline_exceeded": "This took too long",
    "unreachable": "No connection to the server",
}


def icon(name: str) -> str:
    """An outline drawing that takes the colour of the text; screen readers skip it."""
    return f'<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">{_PATHS[name]}</svg>'


def percent(probability: float, *, limit: float | None = None) -> str:
    """A probability for people, which never claims certainty: ``<1%`` and ``>99%`` at the ends.

    Args:
        limit: from where on a verdict changes. Rounding never carries a probability over it, and
            ``percent(limit, limit=limit)`` is how the limit itself is shown beside such probabilities.
    """
    return percent_text(whole_percent(probability, limit=limit))


def whole_percent(probability: float, *, limit: float | None = None) -> int:
    """As ``percent``, as a number; 0 stands for less than 1%, and 100 for more than 99%."""
    if probability < 0.01:
        return 0
    if probability > 0.99:
        return 100
    nearest = round(100 * probability)
    if limit is None:
        return nearest
    first = math.ceil(round(100 * limit, 6))  # 100 * 0.55 is a little more than 55
    return max(nearest, first) if probability >= limit else min(nearest, first - 1)


def percent_text(whole: int) -> str:
    """What ``whole_percent`` gave, in writing."""
    return {0: "&lt;1%", 100: "&gt;99%"}.get(whole, f"{whole}%")


def in_minutes(seconds: float) -> str:
    """A time for people, rounded up to minutes: ``10 minutes``."""
    minutes = math.ceil(seconds / 60)
    return "1 minute" if minutes == 1 else f"{minutes} minutes"


def disclaimer_note(text: str = DISCLAIMER) -> str:
    """The disclaimer, as it stands beside every answer."""
    return f'<p class="disclaimer">{icon("shield")}<span>{escape(text)}</span></p>'


def group_tag(group: Risk) -> str:
    """Whether a diagnosis is benign or malignant, in word, shape and colour."""
    return f'<span class="tag {group}">{icon(group)}{group}</span>'


def diagnosis_bars(diagnoses: list[DiagnosisScore]) -> str:
    """The diagnoses with their probabilities, as a list of bars."""
    rows = "".join(
        f'<li><span class="bar-name">{escape(score.name)} {group_tag(score.group)}</span>'
        f'<span class="bar-value">{percent(score.probability)}</span>'
        f'<span class="bar {score.group}"><i style="width:{100 * score.probability:.1f}%"></i></span></li>'
        for score in diagnoses
    )
    return f'<ol class="bars">{rows}</ol>'


def guide_card(title: str, points: list[str]) -> str:
    """What stands in the place of the answer before the first photo; ``points`` are HTML."""
    rows = "".join(f"<li>{icon('benign')}<span>{point}</span></li>" for point in points)
    return f'<section class="card guide"><h3>{title}</h3><ul>{rows}</ul>{disclaimer_note()}</section>'


def working_card(title: str, text: str) -> str:
    """What stands in the place of the answer while it is being found."""
    return (
        f'<section class="card working" role="status"><h3>{escape(title)}</h3><p>{escape(text)}</p>'
        '<div class="track" aria-hidden="true"><i></i></div></section>'
    )


def error_card(code: str, message: str) -> str:
    """Why there is no answer, and what to do."""
    title = _ERROR_TITLES.get(code, "There is no answer")
    return (
        f'<section class="card error" role="alert" data-code="{escape(code)}">{icon("error")}'
        f"<div><h3>{title}</h3><p>{escape(message)}</p></div></section>"
    )
