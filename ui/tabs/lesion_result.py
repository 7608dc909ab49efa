"""The result of the Lesion tab: verdict, diagnoses, and the photo with the lesion and the Grad-CAM map."""

import math
from typing import NamedTuple

from serve.lesion.schemas import DiagnosisScore, LesionAnswer, PixelBox
from serve.schemas import ReasonCode
from ui.preview import Preview
from ui.rendering import css_percent, render
from ui.tabs.diagnosis_texts import DIAGNOSIS_TEXTS
from ui.tabs.reason_texts import cautions, findings, not_usable_text
from ui.tabs.verdict_errors import VerdictErrors

_WHY_NO_DIAGNOSIS = (
    "A diagnosis is named only if it belongs to the group of the verdict and is probable enough. A sharper "
    "photo, closer and in daylight, often helps."
)
_HOW_TO_READ = (
    "The network has two outputs: the probability that the lesion is malignant, and a probability for each "
    "diagnosis. The verdict comes from the first; only diagnoses of its group can be named. A diagnosis that "
    "is rare in the training photos can be named although a frequent one is several times as probable."
)
_NOT_MEASURED = "How often its answers are wrong was not measured for this network."
_NOT_A_LESION = frozenset[ReasonCode]({"not_skin", "no_lesion", "unfamiliar"})
"""Reasons for which the framed area need not be a lesion."""
_MAX_DECIMALS = 4


class ScaleTexts(NamedTuple):
    """The probability and the thresholds as text, so that rounding keeps their order."""

    probability: str
    benign_below: str
    malignant_from: str


def lesion_card(answer: LesionAnswer, errors: VerdictErrors | None = None) -> str:
    """Render the verdict and the diagnoses of one lesion, or why there is none.

    Args:
        errors: of the network that answered; None if they are not known.
    """
    name = f"{answer.model.name}, version {answer.model.version}"
    if not answer.usable:
        text = not_usable_text(answer.reasons)
        details = [("What the server found", findings(answer.reasons)), ("Network", name)]
        return render("lesion_not_usable", answer=answer, text=text, details=details)
    against_verdict = sum(score.probability for score in answer.diagnoses if score.group != answer.verdict)
    return render(
        "lesion_result",
        answer=answer,
        scale=scale_texts(answer),
        has_two_thresholds=answer.benign_threshold < answer.threshold,
        cautions=cautions(answer.reasons),
        error_rate=errors.of_malignant() if errors else _NOT_MEASURED,
        named_as=_named_as(answer),
        more_probable=_more_probable(answer),
        heads_disagree=answer.verdict != "inconclusive" and against_verdict > 0.5,
        details=[*_details(answer), *_error_details(errors), ("Network", name)],
    )


def lesion_photo(photo: Preview | None, answer: LesionAnswer) -> str:
    """Render the photo with the lesion's box, the square that the network read and the Grad-CAM switch."""
    if photo is None:
        return render("lesion_photo", photo=None, is_usable=answer.usable)
    return render(
        "lesion_photo",
        photo=photo,
        answer=answer,
        lesion_place=_place(answer.lesion_box, photo),
        is_lesion=answer.usable or not _NOT_A_LESION.intersection(reason.code for reason in answer.reasons),
        crop_place=_place(answer.crop_box, photo),
        has_margins=answer.crop_box not in (None, (0, 0, photo.width_px, photo.height_px)),
    )


def _named_as(answer: LesionAnswer) -> str:
    """Return what the named diagnosis is among those of its group and among all."""
    named = answer.diagnosis
    if named is None:
        return ""
    if all(score.probability <= named.probability for score in answer.diagnoses):
        return "Most likely"
    return f"{'Suggested' if _more_probable(answer) else 'Most likely'} {named.group} diagnosis"


def _more_probable(answer: LesionAnswer) -> DiagnosisScore | None:
    """Return the most probable diagnosis of the verdict's group if another one is named."""
    named = answer.diagnosis
    if named is None:
        return None
    others = [score for score in answer.diagnoses if score.group == named.group]
    most_probable = max(others, key=lambda score: score.probability, default=named)
    return most_probable if most_probable.probability > named.probability else None


def scale_texts(answer: LesionAnswer) -> ScaleTexts:
    """Format the probability beside the thresholds, with as many decimals as tell them apart.

    Thresholds are rounded up. The probability is rounded, but never over a threshold.
    """
    assert answer.malignant_probability is not None
    probability, low, high = answer.malignant_probability, answer.benign_threshold, answer.threshold
    enough = (decimals for decimals in range(_MAX_DECIMALS) if _tells_apart(decimals, low, high))
    decimals = next(enough, _MAX_DECIMALS)
    first_low, first_high = (_first_step(limit, decimals) for limit in (low, high))
    nearest = round(probability * 100 * 10**decimals)
    for limit, first in ((low, first_low), (high, first_high)):
        nearest = max(nearest, first) if probability >= limit else min(nearest, first - 1)
    text, benign_below, malignant_from = (
        f"{step / 10**decimals:.{decimals}f}%" for step in (nearest, first_low, first_high)
    )
    unit = 10**-decimals
    if 100 * probability < unit:
        text = f"<{unit:g}%"
    elif 100 * probability > 100 - unit:
        text = f">{100 - unit:g}%"
    return ScaleTexts(text, benign_below, malignant_from)


def _tells_apart(decimals: int, low: float, high: float) -> bool:
    first_low, first_high = _first_step(low, decimals), _first_step(high, decimals)
    return (low == high or first_low < first_high) and (low == 0 or low * 100 * 10**decimals >= 1)


def _first_step(limit: float, decimals: int) -> int:
    return math.ceil(round(limit * 100 * 10**decimals, 6))  # 100 * 0.55 is a little more than 55


def _place(box: PixelBox | None, photo: Preview) -> str | None:
    """Return the CSS of a box in pixels of the upright photo, relative to the shown photo."""
    if box is None:
        return None
    left, right = box[0] / photo.width_px, box[2] / photo.width_px
    top, bottom = box[1] / photo.height_px, box[3] / photo.height_px
    return (
        f"left:{css_percent(left)};top:{css_percent(top)};"
        f"width:{css_percent(right - left)};height:{css_percent(bottom - top)}"
    )


def _details(answer: LesionAnswer) -> list[tuple[str, str]]:
    how_to_read = ("How to read the bars", _HOW_TO_READ)
    if answer.verdict == "inconclusive":
        return [how_to_read]
    if answer.diagnosis is None:
        return [("Why no diagnosis is named", _WHY_NO_DIAGNOSIS), how_to_read]
    name = answer.diagnosis.name
    explained = [(f"What it is: {name}", DIAGNOSIS_TEXTS[name])] if name in DIAGNOSIS_TEXTS else []
    return [*explained, how_to_read]


def _error_details(errors: VerdictErrors | None) -> list[tuple[str, str | list[str]]]:
    if errors is None:
        return []
    called = "benign or inconclusive" if errors.is_upper_bound else "benign"
    missed = [rate.text for rate in errors.malignant_called_benign]
    false_alarms = [rate.text for rate in errors.benign_called_malignant]
    details: list[tuple[str, str | list[str]]] = [
        (f"Malignant lesions called {called}, {errors.photos}", missed)
    ]
    if false_alarms:
        details.append((f"Benign lesions called malignant, {errors.photos}", false_alarms))
    return details
