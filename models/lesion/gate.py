"""Find photos that a lesion network cannot classify, and reasons that weaken a verdict.

``train`` fits a gate to one network and one localizer on validation photos and stores it in ``meta.json``.
This module needs no torch. Measurements: docs/decisions/0024-localizer-and-gate.md.

Axes: H row, W column, C colour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.checkpoint import CheckpointError, CheckpointMeta
from models.metrics import Metric
from models.photo_quality import Problem
from models.rounded_text import ceil_text, floor_text

if TYPE_CHECKING:
    from models.lesion.preparation import PreparedLesion


class LesionGate(BaseModel):
    """Thresholds of the gate of one network and one localizer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network_sha256: str = Field(description="weights_sha256 of the network that it was fitted to")
    localizer_sha256: str = Field(description="of localizer.onnx")
    min_scope: float = Field(ge=0, le=1, description="scope probability below which a photo is not usable")
    min_skin: float = Field(ge=0, le=1, description="localizer's skin output below which it is not_skin")
    min_lesion: float = Field(ge=0, le=1, description="localizer's lesion output below which it is no_lesion")
    min_box_px: float = Field(
        ge=0,
        allow_inf_nan=False,
        description="longer side of the lesion, pixels of the sent photo, below which it is too small",
    )
    min_sharpness: float = Field(
        ge=0, le=1, description="sharpness of the crop below which blurred weakens a verdict"
    )
    false_rejections: dict[str, Metric] = Field(
        description="by source: share of the unchanged validation photos that are not usable"
    )


def gate_of(meta: CheckpointMeta) -> LesionGate | None:
    """Return the gate of a checkpoint; None for a checkpoint without one.

    Raises:
        CheckpointError: the gate is malformed, or was fitted to another network.
    """
    if meta.gate is None:
        return None
    try:
        gate = LesionGate.model_validate(meta.gate)
    except ValidationError as error:
        what = "; ".join(f"{'.'.join(map(str, e['loc']))} {e['msg']}".strip() for e in error.errors()[:3])
        raise CheckpointError(
            f"the gate of {meta.name} {meta.version} does not fit this code: {what}; calibrate the gate again"
        ) from error
    if gate.network_sha256 != meta.weights_sha256:
        raise CheckpointError(
            f"the gate of {meta.name} {meta.version} was fitted to the network {gate.network_sha256[:12]}…, "
            f"the weights are {meta.weights_sha256[:12]}…; calibrate the gate on these weights"
        )
    if gate.min_scope > 0 and not meta.architecture.get("scope_head"):
        raise CheckpointError(
            f"the gate of {meta.name} {meta.version} has min_scope {gate.min_scope:g}, but the network has "
            "no scope head; calibrate the gate on these weights"
        )
    return gate


def find_problems_before(prepared: PreparedLesion, gate: LesionGate) -> list[Problem]:
    """Return why a photo is not usable, as far as pixels and localizer show it; [] if it may be usable."""
    if prepared.problems:
        return list(prepared.problems)
    if prepared.lesion_box is None:
        return [_not_skin_or_no_lesion(prepared, gate) or _no_lesion()]
    longer_side = prepared.lesion_box.longer_side
    if not longer_side >= gate.min_box_px:
        message = (
            f"what looks most like a lesion has {floor_text(longer_side)} pixels in the photo, at least "
            f"{ceil_text(gate.min_box_px)} are needed; move closer until it fills a quarter of the photo, "
            "and send the original photo"
        )
        too_small = Problem(code="lesion_too_small", message=message)
        return [_not_skin_or_no_lesion(prepared, gate) or too_small]  # a speck on an object is no lesion
    return []


def find_problems_after(prepared: PreparedLesion, gate: LesionGate, scope: float | None) -> list[Problem]:
    """Return why a photo is not usable by the network's scope probability; [] if it is usable.

    Args:
        prepared: the photo.
        gate: of the network.
        scope: the network's scope probability, None without a scope head. NaN makes a photo unusable.
    """
    if scope is None and gate.min_scope <= 0:
        return []
    if scope is not None and scope >= gate.min_scope:
        return []
    return [_not_skin_or_no_lesion(prepared, gate) or _unfamiliar()]


def find_weaknesses(prepared: PreparedLesion, gate: LesionGate) -> list[Problem]:
    """Return the reasons that make the verdict on a usable photo less certain."""
    weaknesses: list[Problem] = []
    if prepared.localization is not None and prepared.localization.several and not prepared.is_box_given:
        message = (
            "the photo shows several lesions, and only the larger or more central one was classified; take a "
            "photo of each lesion by itself, or mark the lesion"
        )
        weaknesses.append(Problem(code="several_lesions", message=message))
    if not prepared.sharpness >= gate.min_sharpness:
        message = (
            f"the lesion is blurred: its sharpness is {floor_text(prepared.sharpness, 2)}, at least "
            f"{ceil_text(gate.min_sharpness, 2)} is needed for a reliable answer; take the photo again with "
            "the lesion in focus"
        )
        weaknesses.append(Problem(code="blurred", message=message))
    return weaknesses


SHARPNESS_WINDOW_PX = 11


def sharpness(image_HWC: np.ndarray) -> float:
    """Return the sharpness of an image, 0 (blurred) to 1, whatever its contrast.

    It is the share of the variation between neighbouring pixels that a blur of ``SHARPNESS_WINDOW_PX``
    removes, in the less sharp one of both directions.

    Args:
        image_HWC: uint8, (H, W, 3), sides of at least ``SHARPNESS_WINDOW_PX``.

    Source: Crété et al. 2007, "The blur effect".
    """
    grey_HW = np.asarray(Image.fromarray(image_HWC).convert("L"), np.int16)
    return min(_sharpness_of_rows(grey_HW), _sharpness_of_rows(np.ascontiguousarray(grey_HW.T)))


def _sharpness_of_rows(grey_HW: np.ndarray) -> float:
    window, half = SHARPNESS_WINDOW_PX, SHARPNESS_WINDOW_PX // 2
    # differences of a moving mean, times the window: those of pixels one window apart
    blurred_HW = np.abs(grey_HW[:, window:] - grey_HW[:, :-window])
    variation_HW = window * np.abs(grey_HW[:, half + 1 : -half] - grey_HW[:, half : -half - 1])
    total = int(variation_HW.sum())
    return int(np.maximum(variation_HW - blurred_HW, 0).sum()) / total if total else 0.0


def _not_skin_or_no_lesion(prepared: PreparedLesion, gate: LesionGate) -> Problem | None:
    found = prepared.localization
    if found is None:
        return None
    if not found.skin >= gate.min_skin:  # also for NaN
        message = (
            "the photo does not look like skin; take a sharp photo of the lesion from about 10 cm, with only "
            "skin around it"
        )
        return Problem(code="not_skin", message=message)
    if not prepared.is_box_given and not found.lesion >= gate.min_lesion:
        return _no_lesion()
    return None


def _no_lesion() -> Problem:
    message = (
        "no lesion was found in the photo; take it from about 10 cm with the lesion in the middle and in "
        "focus, or mark the lesion"
    )
    return Problem(code="no_lesion", message=message)


def _unfamiliar() -> Problem:
    message = (
        "the photo differs too much from the training photos for a reliable answer; "
        "take a sharp photo of the lesion from about 10 cm in daylight, without a filter"
    )
    return Problem(code="unfamiliar", message=message)
