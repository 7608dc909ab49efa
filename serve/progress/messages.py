"""Values between the gateway and the replicas of face detector and progress network.

Axes: T photo of a series, H row, W column, C colour, D number of a face descriptor.
"""

from dataclasses import dataclass, field

import numpy as np

from models.progress.verdict import VerdictThresholds
from serve.schemas import ModelName


@dataclass(frozen=True, kw_only=True)
class FaceReport:
    """The largest face of one photo."""

    box: tuple[float, float, float, float]
    """Left, top, right, bottom in pixels of the photo that the detector received."""
    confidence: float
    crop_HWC: np.ndarray
    """uint8, square, at the input size of the progress network."""
    eyes: tuple[tuple[float, float], tuple[float, float]] | None = None
    """(x, y) of the left and the right eye in pixels of the photo that the detector received."""
    descriptor_D: np.ndarray | None = field(default=None, repr=False)
    """float32, of ``models.face.descriptor``: personal data, compared within one request and dropped; None
    without a face descriptor."""
    same_person_distance: float = 0.0
    """Largest distance between the descriptors of one person."""


@dataclass(frozen=True, kw_only=True)
class FaceSeries:
    """Face crops of one series for the progress network, oldest first."""

    crop_THWC: np.ndarray
    """uint8, (T, input_px, input_px, 3); any values where no face was found."""
    present_T: np.ndarray
    """bool, False where no face was found."""


@dataclass(frozen=True, kw_only=True)
class ProgressReport:
    """Output of the progress network for one series."""

    model: ModelName
    thresholds: VerdictThresholds
    improved_T: tuple[float, ...]
    """Probability of improved after each photo; the last one is that of the series."""
