"""HTTP bodies of the progress task. No Ray and no torch: ``ui/`` imports this too."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from models.progress.verdict import VerdictThresholds as VerdictThresholds
from serve.schemas import DISCLAIMER, Body, ModelName, Probability, Reason


class Box(Body):
    """Bounding box of a face in pixels of the upright photo; the origin is its top left corner."""

    left: float
    top: float
    right: float
    bottom: float


class Point(Body):
    """Point in pixels of the upright photo; the origin is its top left corner."""

    x: float
    y: float


class Eyes(Body):
    """Eyes of a face; left is the one on the left side of the picture if the face is upright."""

    left: Point
    right: Point


class FoundFace(Body):
    """Bounding box of a face, confidence of the detector, and eyes."""

    box: Box
    confidence: float = Probability
    eyes: Eyes | None = Field(
        default=None,
        description="of the face that was fitted to eyes, nose and mouth, also for a face in profile; they "
        "align the faces of two photos and can be outside the photo; null from an older face detector",
    )


class PhotoReport(Body):
    """Result for one photo of a series."""

    index: int = Field(ge=0, description="position in the request, from 0")
    taken_at: datetime | None = Field(
        description="capture time, as sent or recorded in EXIF or XMP; null when unknown"
    )
    face: FoundFace | None = Field(description="null when no face was found; such a photo has no effect")
    same_person: bool | None = Field(
        default=None,
        description="whether the face is that of the person in most photos of the series; null without a "
        "face, or without a face descriptor",
    )
    improved_probability_so_far: float | None = Field(
        ge=0,
        le=1,
        description="after this photo; null without a face, for the first face, and if the verdict is "
        "inconclusive",
    )


Verdict = Literal["improved", "worsened", "no_clear_change", "inconclusive"]


class ProgressAnswer(Body):
    """Response of ``POST /v1/progress``; ``photos`` are in time order."""

    model: ModelName
    verdict: Verdict = Field(
        description="no_clear_change: neither probability reaches its threshold; inconclusive: the photos "
        "cannot be compared, `reasons` says why"
    )
    improved_probability: float = Field(ge=0, le=1, description="0.5 if the verdict is inconclusive")
    worsened_probability: float = Field(ge=0, le=1, description="0.5 if the verdict is inconclusive")
    improved_threshold: float = Field(
        ge=0, le=1, description="probability of improvement from which the verdict is improved"
    )
    worsened_threshold: float | None = Field(
        ge=0,
        le=1,
        description="probability of worsening from which the verdict is worsened; null: every series that is "
        "not improved is worsened, there is no verdict no_clear_change",
    )
    order: Literal["taken_at", "exif", "upload"] = Field(description="source of the order of the photos")
    reasons: list[Reason] = Field(
        default=[],
        description="why the verdict is inconclusive or no_clear_change, or what weakens the answer; "
        "messages count photos from 1, in upload order",
    )
    photos: list[PhotoReport]
    disclaimer: str = DISCLAIMER


class PredictRequest(Body):
    """Request of SkinCredible, ``POST /predict``."""

    img: list[Any] = Field(description="frames x height x width x 3 numbers from 0 to 255, RGB, oldest first")


class PredictAnswer(Body):
    """Response of SkinCredible, ``POST /predict``; its clients know two classes."""

    prob_class: Literal[0, 1] = Field(description="1 improved, 0 worsened")
    negative_prob: float = Probability
    positive_prob: float = Probability
    reasons: list[Reason] = Field(
        default=[], description="what weakens the answer; messages count frames from 1, as photos"
    )
    disclaimer: str = DISCLAIMER
