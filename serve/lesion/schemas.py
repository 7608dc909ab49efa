"""HTTP bodies of the lesion task. No Ray and no torch: ``ui/`` imports this too."""

from typing import Self

from pydantic import Field, model_validator

from serve.lesion.verdict import RISK_LEVELS, LesionThresholds, RiskLevel, Verdict
from serve.schemas import DISCLAIMER, Body, ErrorDetail, Group, ModelName, Probability, Reason


class DiagnosisScore(Body):
    """Probability of one diagnosis."""

    name: str = Field(examples=["Nevus"])
    group: Group
    probability: float = Probability


PixelBox = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels of the upright photo, origin at its top left corner."""


class LesionAnswer(Body):
    """Response of ``POST /v1/lesion``."""

    model: ModelName
    verdict: Verdict = Field(
        description="benign when malignant_probability is below benign_threshold, malignant from threshold "
        "on, inconclusive between them (reason near_threshold) and when the photo is not usable"
    )
    usable: bool = Field(
        description="false: not a photo that the network can classify, for the given reasons; probability, "
        "risk level, diagnosis and Grad-CAM map are null"
    )
    reasons: list[Reason] = Field(description="why the verdict is inconclusive, or what weakens the answer")
    malignant_probability: float | None = Field(ge=0, le=1, description="null when the photo is not usable")
    threshold: float = Field(ge=0, le=1, description="probability from which the verdict is malignant")
    benign_threshold: float = Field(
        ge=0, le=1, description="probability below which the verdict is benign; at most the threshold"
    )
    risk_level: RiskLevel | None = Field(
        description="low: benign, medium: inconclusive, high: malignant; null when the photo is not usable"
    )
    diagnosis: DiagnosisScore | None = Field(
        description="first of the verdict's group with a probability of at least the threshold "
        "name_diagnosis, 0.10; null without one and when the verdict is inconclusive"
    )
    diagnoses: list[DiagnosisScore] = Field(
        description="the first top_k of both groups, ranked by the product of probability and "
        "ranking_weights of the model: a rare diagnosis can stand before a frequent one that is several "
        "times as probable, also before those of the verdict's group"
    )
    lesion_box: PixelBox | None = Field(
        description="lesion that was found, or the box of the request: left, top, right, bottom in pixels of "
        "the upright photo; null when none was found and for networks without a localizer"
    )
    crop_box: PixelBox | None = Field(
        description="square of the upright photo that the network read; null when it read none"
    )
    heatmap_png: str | None = Field(
        default=None,
        description="with explain=true: Grad-CAM map, base64 of a transparent RGBA PNG, 224 x 224, that "
        "covers crop_box; opaque blue marks evidence for the verdict, for malignancy when it is inconclusive",
    )
    disclaimer: str = DISCLAIMER

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        thresholds = LesionThresholds(benign=self.benign_threshold, malignant=self.threshold)
        for box in filter(None, (self.lesion_box, self.crop_box)):
            if not (0 <= box[0] < box[2] and 0 <= box[1] < box[3]):
                raise ValueError(f"box {box} is empty or outside the photo")
        if self.usable:
            self._check_usable(thresholds)
            return self
        if self.verdict != "inconclusive" or not self.reasons:
            raise ValueError("a photo that is not usable needs the verdict inconclusive and a reason")
        absent = (self.malignant_probability, self.risk_level, self.diagnosis, self.heatmap_png)
        if self.diagnoses or absent != (None,) * 4:
            raise ValueError("a photo that is not usable has no probability, risk level, diagnosis or map")
        return self

    def _check_usable(self, thresholds: LesionThresholds) -> None:
        if self.malignant_probability is None or self.crop_box is None:
            raise ValueError("a usable photo needs a probability and a crop_box")
        expected = thresholds.verdict(self.malignant_probability)
        if (self.verdict, self.risk_level) != (expected, RISK_LEVELS[expected]):
            raise ValueError(
                f"a usable photo with probability {self.malignant_probability} needs the verdict {expected} "
                f"and the risk level {RISK_LEVELS[expected]}"
            )
        is_near = any(reason.code == "near_threshold" for reason in self.reasons)
        if is_near != (expected == "inconclusive"):
            raise ValueError("a usable photo is inconclusive for the reason near_threshold and for no other")
        if self.diagnosis is not None and self.diagnosis.group != expected:
            raise ValueError("a usable photo has a diagnosis of its verdict's group or none")


class BatchLine(Body):
    """One NDJSON line of ``POST /v1/lesion/batch``: a result or an error, never both."""

    index: int = Field(ge=0, description="position of the file in the request, from 0")
    result: LesionAnswer | None = None
    error: ErrorDetail | None = None
