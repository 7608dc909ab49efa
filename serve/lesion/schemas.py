"""HTTP bodies of the lesion task. No Ray and no torch: ``ui/`` imports this too."""

from pydantic import Field

from serve.schemas import DISCLAIMER, Body, ErrorDetail, Group, ModelName, Probability


class DiagnosisScore(Body):
    """Probability of one diagnosis."""

    name: str = Field(examples=["Nevus"])
    group: Group
    probability: float = Probability


class LesionAnswer(Body):
    """Response of ``POST /v1/lesion``."""

    model: ModelName
    malignant_probability: float = Probability
    verdict: Group = Field(description="malignant when malignant_probability reaches the threshold")
    threshold: float = Probability
    diagnosis: DiagnosisScore | None = Field(
        description="most probable diagnosis of the verdict's group; null below probability 0.10"
    )
    diagnoses: list[DiagnosisScore] = Field(
        description="the top_k most probable, of both groups, in descending order"
    )
    heatmap_png: str | None = Field(
        default=None,
        description="with explain=true: Grad-CAM map, base64 of a transparent RGBA PNG, 224 x 224, that "
        "covers the central square of the upright photo; opaque blue marks evidence for the verdict",
    )
    disclaimer: str = DISCLAIMER


class BatchLine(Body):
    """One NDJSON line of ``POST /v1/lesion/batch``: a result or an error, never both."""

    index: int = Field(ge=0, description="position of the file in the request, from 0")
    result: LesionAnswer | None = None
    error: ErrorDetail | None = None
