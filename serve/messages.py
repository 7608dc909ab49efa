"""What travels between the gateway and the deployments: plain values, without torch.

Axes: T photo of a series, H row, W column, C colour.
"""

from dataclasses import dataclass

import numpy as np

from models.checkpoint import CheckpointError, CheckpointMeta
from serve.schemas import DiagnosisScore, LoadedModel, ModelName, Risk


@dataclass(frozen=True, kw_only=True)
class Full:
    """What a replica answers that takes in no more photos; an error would fill its log with tracebacks."""

    num_photos: int
    """So many are in work."""


@dataclass(frozen=True, kw_only=True)
class Spot:
    """One photo for the lesion network."""

    image_HWC: np.ndarray
    """uint8, (input_px, input_px, 3), as ``models.images.decode_square`` returns it."""
    explain: bool = False
    """Add the heat map of the verdict."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One series of face crops for the progress network, oldest first."""

    crop_THWC: np.ndarray
    """uint8, (T, input_px, input_px, 3); anything where no face was found."""
    present_T: np.ndarray
    """bool, False where no face was found."""


@dataclass(frozen=True, kw_only=True)
class LesionReport:
    """What the lesion network says of one photo."""

    model: ModelName
    malignant_probability: float
    threshold: float
    """From here on the verdict is malignant."""
    naming_threshold: float
    """Below it, no diagnosis is named."""
    diagnoses: tuple[DiagnosisScore, ...]
    """All of them, the most probable first."""
    heat_HW: np.ndarray | None = None
    """float, 0 to 1: where the evidence for the verdict lies, when it was asked for."""

    @property
    def verdict(self) -> Risk:
        """Which group the photo belongs to."""
        return verdict_of(self.malignant_probability, self.threshold)


@dataclass(frozen=True, kw_only=True)
class FaceReport:
    """The largest face of one photo."""

    box: tuple[float, float, float, float]
    """Left, top, right, bottom in pixels of the photo that was sent to the stage."""
    confidence: float
    crop_HWC: np.ndarray
    """uint8, square, at the size of the progress network."""


@dataclass(frozen=True, kw_only=True)
class ProgressReport:
    """What the progress network says of one series."""

    model: ModelName
    threshold: float
    """From here on the verdict is improved."""
    improved_T: tuple[float, ...]
    """Probability of improved after each photo; the last is the series' own."""


def verdict_of(malignant_probability: float, threshold: float) -> Risk:
    """Apply the threshold; both the heat map and the answer follow it."""
    return "malignant" if malignant_probability >= threshold else "benign"


def threshold_of(meta: CheckpointMeta, name: str) -> float:
    """Return one threshold of a checkpoint.

    Raises:
        CheckpointError: it has none of that name; raised while a replica loads, not when it answers.
    """
    if name not in meta.thresholds:
        raise CheckpointError(f"checkpoint {meta.name} has no threshold {name!r}; release it again with one")
    return meta.thresholds[name]


def loaded_model(
    meta: CheckpointMeta, *, device: str, engine: str, model_card: str, cuda_graphs: bool | None = None
) -> LoadedModel:
    """Say what a replica has loaded, for ``GET /v1/models``."""
    return LoadedModel(
        kind=meta.kind,
        name=meta.name,
        version=meta.version,
        sha256=meta.weights_sha256,
        labels=list(meta.labels),
        groups=meta.groups,
        input_px=meta.input_px,
        thresholds=meta.thresholds,
        metrics=meta.metrics,
        training_data=meta.training_data,
        data_licence=meta.data_licence,
        device=device,
        engine=engine,
        cuda_graphs=cuda_graphs,
        model_card=model_card,
    )
