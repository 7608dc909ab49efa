"""HTTP bodies of the lesion task. No Ray and no torch: ``ui/`` imports this too."""

from typing import Literal, Self

from pydantic import Field, model_validator

from serve.schemas import DISCLAIMER, Body, ErrorDetail, Group, ModelName, Probability, Reason


class DiagnosisScore(Body):
    """Probability of one diagnosis."""

    name: str = Field(examples=["Nevus"])
    group: Group
    probability: float = Probability


class LesionAnswer(Body):
    """Response of ``POST /v1/lesion``."""

    model: ModelName
    verdict: Literal["benign", "malignant", "inconclusive"] = Field(
        description="malignant when malignant_probability reaches the threshold; inconclusive when the photo "
        "is not usable"
    )
    usable: bool = Field(
        description="false: the photo is too poor to classify and was not given to the network; probability, "
        "diagnosis and Grad-CAM map are null"
    )
    reasons: list[Reason] = Field(description="why the photo is not usable, or what weakens the answer")
    malignant_probability: float | None = Field(ge=0, le=1, description="null when the photo is not usable")
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

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if self.usable:
            if self.malignant_probability is None or self.verdict == "inconclusive":
                raise ValueError("a usable photo needs a probability and a verdict")
            return self
        if self.verdict != "inconclusive" or not self.reasons:
            raise ValueError("a photo that is not usable needs the verdict inconclusive and a reason")
        if self.diagnoses or (self.malignant_probability, self.diagnosis, self.heatmap_png) != (None,) * 3:
            raise ValueError("a photo that is not usable has no probability, diagnosis or Grad-CAM map")
        return self


class BatchLine(Body):
    """One NDJSON line of ``POST /v1/lesion/batch``: a result or an error, never both."""

    index: int = Field(ge=0, description="position of the file in the request, from 0")
    result: LesionAnswer | None = None
    error: ErrorDetail | None = None
