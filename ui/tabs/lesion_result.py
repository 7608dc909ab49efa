"""The result of the Lesion tab: verdict, diagnoses, and the photo with the lesion and the Grad-CAM map."""

import math
from typing import Literal, NamedTuple

from markupsafe import Markup

from serve.lesion.reason_texts import NEAR_THRESHOLD
from serve.lesion.schemas import DiagnosisScore, LesionAnswer
from serve.schemas import ReasonCode
from ui.rendering import exact_percent, render
from ui.tabs.diagnosis_drawings import DIAGNOSIS_SIGNS, diagnosis_drawing
from ui.tabs.diagnosis_texts import DIAGNOSIS_TEXTS
from ui.tabs.reason_texts import cautions, findings, not_usable_text
from ui.tabs.verdict_errors import VerdictErrors
from ui.translation import DEFAULT_LANGUAGE

_NOT_A_LESION = frozenset[ReasonCode]({"not_skin", "no_lesion", "lesion_too_small", "unfamiliar"})
"""Reasons for which the framed area need not be a lesion."""
_HIDES_LESION = frozenset[ReasonCode]({"too_small", "too_dark", "overexposed"})
"""Reasons that no choice of an area changes."""
_MAX_DECIMALS = 4
_MAX_DRAWINGS = 3
_MIN_HIDDEN_SHARE = 0.03
"""Of the side of the square that the network reads, from which a cropped lesion is reported."""
_ODDS_OF_TEN, _ODDS_OF_HUNDRED = 0.45, 0.95
"""Probabilities from which odds are counted in 10 and in 100 lesions: "7 in 10" instead of "1 in 1"."""


class ScaleTexts(NamedTuple):
    """The probability and the thresholds as text, so that rounding keeps their order."""

    probability: str
    benign_below: str
    malignant_from: str


class Odds(NamedTuple):
    """A probability as about, fewer or more than ``malignant`` in ``total``."""

    malignant: int
    total: int
    bound: Literal["about", "fewer", "more"] = "about"


def lesion_fragment(answer: LesionAnswer, errors: VerdictErrors | None, language: str) -> str:
    """Render the verdict and the diagnoses of one lesion, or why there is none, and the frame of the photo.

    Args:
        errors: of the network that answered; None if they are not known.
    """
    codes = {reason.code for reason in answer.reasons}
    values = {
        "answer": answer,
        "is_lesion": answer.usable or not _NOT_A_LESION & codes,
        "hides_lesion": bool(_HIDES_LESION & codes),
        "is_cut": _is_lesion_cropped(answer),
        "near_threshold": NEAR_THRESHOLD,
    }
    if not answer.usable:
        text = not_usable_text(answer.reasons)
        return render("lesion_fragment", language, **values, text=text, findings=findings(answer.reasons))
    assert answer.malignant_probability is not None
    against_verdict = sum(score.probability for score in answer.diagnoses if score.group != answer.verdict)
    named = answer.diagnosis
    return render(
        "lesion_fragment",
        language,
        **values,
        odds=odds_of(answer.malignant_probability),
        scale=scale_texts(answer, language),
        cautions=cautions(answer.reasons),
        is_doubtful=answer.verdict == "benign" and "blurred" in codes,
        error_rate=errors.of_malignant(language) if errors else None,
        naming=_naming(answer),
        more_probable=_more_probable(answer),
        heads_disagree=answer.verdict != "inconclusive" and against_verdict > 0.5,
        diagnosis_text=DIAGNOSIS_TEXTS.get(named.name) if named else None,
        error_details=errors.details(language) if errors else [],
        drawings=_drawings(answer),
    )


def odds_of(probability: float) -> Odds:
    """Express a calibrated probability as odds that people can imagine: 0.19 as 1 in 5."""
    if probability < 0.01:
        return Odds(1, 100, "fewer")
    if probability < _ODDS_OF_TEN:
        total = round(1 / probability)
        return Odds(1, total if total <= 10 else 5 * round(total / 5))
    if probability < _ODDS_OF_HUNDRED:
        return Odds(round(10 * probability), 10)
    return Odds(99, 100, "more") if probability > 0.99 else Odds(round(100 * probability), 100)


def _is_lesion_cropped(answer: LesionAnswer) -> bool:
    """Return whether the network read visibly less than the framed lesion."""
    if answer.lesion_box is None or answer.crop_box is None:
        return False
    (left, top, right, bottom), seen = answer.lesion_box, answer.crop_box
    hidden_px = max(seen[0] - left, seen[1] - top, right - seen[2], bottom - seen[3])
    return hidden_px > _MIN_HIDDEN_SHARE * (seen[2] - seen[0])


def _drawings(answer: LesionAnswer) -> list[tuple[str, Markup, str]]:
    """Return name, drawing and signs of the most probable diagnoses, the named one first."""
    ranked = sorted(answer.diagnoses, key=lambda score: (score != answer.diagnosis, -score.probability))
    drawn = [(score.name, diagnosis_drawing(score.name)) for score in ranked[:_MAX_DRAWINGS]]
    return [(name, drawing, DIAGNOSIS_SIGNS[name]) for name, drawing in drawn if drawing]


def _naming(answer: LesionAnswer) -> Literal["likeliest", "suggested", "likeliest of its group", ""]:
    """Return what the named diagnosis is among those of its group and among all."""
    named = answer.diagnosis
    if named is None:
        return ""
    if all(score.probability <= named.probability for score in answer.diagnoses):
        return "likeliest"
    return "suggested" if _more_probable(answer) else "likeliest of its group"


def _more_probable(answer: LesionAnswer) -> DiagnosisScore | None:
    """Return the most probable diagnosis of the verdict's group if another one is named."""
    named = answer.diagnosis
    if named is None:
        return None
    others = [score for score in answer.diagnoses if score.group == named.group]
    most_probable = max(others, key=lambda score: score.probability, default=named)
    return most_probable if most_probable.probability > named.probability else None


def scale_texts(answer: LesionAnswer, language: str = DEFAULT_LANGUAGE) -> ScaleTexts:
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
        exact_percent(step / 10**decimals, language, decimals=decimals)
        for step in (nearest, first_low, first_high)
    )
    unit = 10**-decimals
    if 100 * probability < unit:
        text = exact_percent(unit, language, decimals=decimals, sign="<")
    elif 100 * probability > 100 - unit:
        text = exact_percent(100 - unit, language, decimals=decimals, sign=">")
    return ScaleTexts(text, benign_below, malignant_from)


def _tells_apart(decimals: int, low: float, high: float) -> bool:
    first_low, first_high = _first_step(low, decimals), _first_step(high, decimals)
    return (low == high or first_low < first_high) and (low == 0 or low * 100 * 10**decimals >= 1)


def _first_step(limit: float, decimals: int) -> int:
    return math.ceil(round(limit * 100 * 10**decimals, 6))  # 100 * 0.55 is a little more than 55
