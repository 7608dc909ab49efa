"""Build the responses of the lesion task."""

import math
from collections.abc import Sequence

from models.lesion.localizer import Box
from models.lesion.preparation import PreparedLesion
from models.photo_quality import Problem
from serve.lesion.messages import LesionReport
from serve.lesion.schemas import DiagnosisScore, LesionAnswer, PixelBox
from serve.lesion.verdict import RISK_LEVELS, LesionThresholds
from serve.schemas import ModelName, Reason

_ROUNDING_PX = 1e-6
"""Boxes are shares of the frame times its size; a right edge of 640.0000001 is 640."""


def usable_answer(
    report: LesionReport,
    prepared: PreparedLesion,
    weaknesses: Sequence[Problem] = (),
    *,
    top_k: int,
    heatmap_png: str | None = None,
) -> LesionAnswer:
    """Build the response for a photo that the network classified.

    Args:
        weaknesses: reasons that make the verdict less certain.
        top_k: number of diagnoses.
    """
    near = [near_threshold(report)] if report.verdict == "inconclusive" else []
    return LesionAnswer(
        model=report.model,
        verdict=report.verdict,
        usable=True,
        reasons=[*near, *map(_reason, weaknesses)],
        malignant_probability=report.malignant_probability,
        threshold=report.thresholds.malignant,
        benign_threshold=report.thresholds.benign,
        risk_level=RISK_LEVELS[report.verdict],
        diagnosis=named_diagnosis(report),
        diagnoses=list(report.diagnoses[:top_k]),
        lesion_box=_lesion_box(prepared),
        crop_box=_crop_box(prepared),
        heatmap_png=heatmap_png,
    )


def unusable_answer(
    problems: Sequence[Problem],
    prepared: PreparedLesion,
    *,
    model: ModelName,
    thresholds: LesionThresholds,
    is_classified: bool,
) -> LesionAnswer:
    """Build the response for a photo that is not usable.

    Args:
        problems: at least one.
        is_classified: whether the network read the photo.
    """
    finds_none = any(problem.code == "no_lesion" for problem in problems)
    return LesionAnswer(
        model=model,
        verdict="inconclusive",
        usable=False,
        reasons=list(map(_reason, problems)),
        malignant_probability=None,
        threshold=thresholds.malignant,
        benign_threshold=thresholds.benign,
        risk_level=None,
        diagnosis=None,
        diagnoses=[],
        lesion_box=None if finds_none and not prepared.is_box_given else _lesion_box(prepared),
        crop_box=_crop_box(prepared) if is_classified else None,
    )


def near_threshold(report: LesionReport) -> Reason:
    """Return the reason for an inconclusive verdict on a usable photo."""
    low, high = report.thresholds.benign, report.thresholds.malignant
    probability = _between(report.malignant_probability, low, high)
    message = (
        f"the probability of malignancy is {probability}; below {low:.3g} the verdict would be benign, "
        f"from {high:.3g} malignant; show the lesion to a doctor, or take another sharp photo of it "
        "from 10 cm in daylight"
    )
    return Reason(code="near_threshold", message=message)


def named_diagnosis(report: LesionReport) -> DiagnosisScore | None:
    """Return the first diagnosis of the verdict's group that reaches the naming threshold, or None.

    Diagnoses of the other group are excluded: a benign verdict never names a melanoma, and an inconclusive
    one names nothing.
    """
    for score in report.diagnoses:
        if score.group == report.verdict and score.probability >= report.naming_threshold:
            return score
    return None


def _between(probability: float, low: float, high: float) -> str:
    """Format a probability with enough digits that it is not rounded to a threshold."""
    for digits in range(2, 17):
        text = f"{probability:.{digits}g}"
        if low <= float(text) < high:
            return text
    return repr(probability)


def _reason(problem: Problem) -> Reason:
    return Reason(code=problem.code, message=problem.message)


def _lesion_box(prepared: PreparedLesion) -> PixelBox | None:
    """Return the smallest box of whole pixels around the lesion."""
    box = prepared.lesion_box
    if box is None:
        return None
    left, top = (max(0, math.floor(edge + _ROUNDING_PX)) for edge in (box.left, box.top))
    right = min(prepared.width_px, math.ceil(box.right - _ROUNDING_PX))
    bottom = min(prepared.height_px, math.ceil(box.bottom - _ROUNDING_PX))
    return left, top, right, bottom


def _crop_box(prepared: PreparedLesion) -> PixelBox:
    """Return the crop in whole pixels, square and inside the photo."""
    crop: Box = prepared.crop_box
    side = max(1, round(crop.longer_side))
    left = min(round(crop.left), prepared.width_px - side)
    top = min(round(crop.top), prepared.height_px - side)
    return left, top, left + side, top + side
