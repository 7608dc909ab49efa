"""Values between the gateway and the replicas of the lesion network. Axes: H row, W column, C colour."""

from dataclasses import dataclass

import numpy as np

from serve.lesion.schemas import DiagnosisScore
from serve.lesion.verdict import LesionThresholds, Verdict
from serve.schemas import ModelName


@dataclass(frozen=True, kw_only=True)
class LesionPhoto:
    """One decoded photo."""

    image_HWC: np.ndarray
    """uint8, (input_px, input_px, 3), as ``models.lesion.preparation`` returns it."""
    explain: bool = False
    """Whether to return the Grad-CAM map of the verdict; that of malignancy if it is inconclusive."""


@dataclass(frozen=True, kw_only=True)
class LesionReport:
    """Output of the lesion network for one photo."""

    model: ModelName
    malignant_probability: float
    thresholds: LesionThresholds
    verdict: Verdict
    """Of ``malignant_probability`` by ``thresholds``."""
    scope: float | None
    """Probability that the photo shows a lesion that can be classified; None without a scope head."""
    naming_threshold: float
    """Lowest probability of a diagnosis in the response."""
    diagnoses: tuple[DiagnosisScore, ...]
    """All of them, in the order of the ranking: by the product of probability and ranking weight."""
    grad_cam_HW: np.ndarray | None = None
    """float, 0 to 1: evidence for the verdict, or for malignancy, by place; on request."""
