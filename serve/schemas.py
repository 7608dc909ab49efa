"""The HTTP bodies of the API: what ``/docs`` shows and what every client may rely on.

No Ray and no torch, so ``ui/`` imports this too. A test freezes the resulting OpenAPI document.
"""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, ValidationInfo, field_validator

from models.lesion.metrics import LesionMetrics
from models.limits import DEFAULT_DEADLINE_S as DEFAULT_DEADLINE_S
from models.limits import MAX_PHOTO_BYTES as MAX_PHOTO_BYTES
from models.limits import MAX_SERIES_PHOTOS as MAX_SERIES_PHOTOS
from models.limits import MIN_SERIES_PHOTOS as MIN_SERIES_PHOTOS
from models.metrics import Metric as Metric
from models.metrics import TaskMetrics
from models.progress.metrics import ProgressMetrics
from models.task_metrics import parse_metrics

DISCLAIMER = (
    "Research software, not a medical device. It can be wrong. "
    "Show any spot that worries you, or that changes, to a doctor."
)

Risk = Literal["benign", "malignant"]
Probability = Field(ge=0, le=1)


class Body(BaseModel):
    """What every body shares: no unknown fields, no change after it was made."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelName(Body):
    """Which checkpoint answered."""

    name: str = Field(examples=["lesion-reference"])
    version: str = Field(examples=["1"])


class DiagnosisScore(Body):
    """One diagnosis and how probable the network finds it."""

    name: str = Field(examples=["Nevus"])
    group: Risk
    probability: float = Probability


class LesionAnswer(Body):
    """Answer of ``POST /v1/lesion``."""

    model: ModelName
    malignant_probability: float = Probability
    verdict: Risk = Field(description="malignant when malignant_probability reaches the threshold")
    threshold: float = Probability
    diagnosis: DiagnosisScore | None = Field(
        description="best diagnosis of the verdict's group; null below probability 0.10: not sure enough"
    )
    diagnoses: list[DiagnosisScore] = Field(description="the top_k most probable, of both groups, best first")
    heatmap_png: str | None = Field(
        default=None,
        description="with explain=true: base64 of a transparent RGBA PNG, 224 x 224, that covers the central "
        "square of the upright photo; the denser the blue, the more that place speaks for the verdict",
    )
    disclaimer: str = DISCLAIMER


class Box(Body):
    """A face, in pixels of the upright photo; the origin is its top left corner."""

    left: float
    top: float
    right: float
    bottom: float


class FoundFace(Body):
    """Where the face is and how sure the detector is."""

    box: Box
    confidence: float = Probability


class PhotoReport(Body):
    """What was made of one photo of a series."""

    index: int = Field(ge=0, description="position in the request, from 0")
    taken_at: datetime | None = Field(description="when it was taken, as sent or by EXIF; null when unknown")
    face: FoundFace | None = Field(description="null when no face was found; such a photo changes nothing")
    improved_probability_so_far: float | None = Field(
        ge=0,
        le=1,
        description="after this photo; null without a face and for the first face, which has no past",
    )


class ProgressAnswer(Body):
    """Answer of ``POST /v1/progress``; ``photos`` are in time order."""

    model: ModelName
    verdict: Literal["improved", "worsened"]
    improved_probability: float = Probability
    worsened_probability: float = Probability
    order: Literal["taken_at", "exif", "upload"] = Field(description="what the photos were put in order by")
    photos: list[PhotoReport]
    disclaimer: str = DISCLAIMER


class PredictRequest(Body):
    """SkinCredible's own request."""

    img: list[Any] = Field(
        description="frames x height x width x 3 numbers from 0 to 255, RGB, 2 to 30 frames, oldest first"
    )


class PredictAnswer(Body):
    """SkinCredible's own answer."""

    prob_class: Literal[0, 1] = Field(description="1 improved, 0 worsened")
    negative_prob: float = Probability
    positive_prob: float = Probability
    disclaimer: str = DISCLAIMER


class LoadedModel(Body):
    """One network that this server answers with."""

    kind: Literal["lesion", "progress"]
    name: str
    version: str
    sha256: str = Field(description="of weights.safetensors")
    labels: list[str] = Field(description="in the order of the output columns")
    groups: dict[str, Risk] = Field(description="group of each label; empty for the progress network")
    input_px: int = Field(description="side of the square that the network sees, pixels")
    thresholds: dict[str, float]
    metrics: LesionMetrics | ProgressMetrics | SerializeAsAny[TaskMetrics] = Field(
        description="with the data set, the split, n and 95% intervals"
    )
    training_data: str
    data_licence: str
    device: str
    engine: str
    cuda_graphs: bool | None = Field(
        description="whether batches replay CUDA graphs; false: recording failed, the log says why; null: an "
        "engine without them"
    )
    model_card: str = Field(description="Markdown")

    @field_validator("metrics", mode="before")
    @classmethod
    def _parse_metrics(cls, content: object, info: ValidationInfo) -> TaskMetrics:
        return parse_metrics(info.data.get("kind", ""), content)


class Models(Body):
    """Answer of ``GET /v1/models``."""

    models: list[LoadedModel]
    disclaimer: str = DISCLAIMER


class Health(Body):
    """Answer of ``GET /healthz`` and ``GET /readyz``."""

    status: Literal["ok", "starting"]
    waiting_for: list[str] = Field(
        default=[], description="models that have not answered a warm-up batch yet"
    )


ErrorCode = Literal[
    "unreadable_image",
    "not_found",
    "method_not_allowed",
    "too_large",
    "too_many_pixels",
    "unsupported_type",
    "invalid_request",
    "no_face",
    "too_few_photos",
    "too_many_photos",
    "bad_timestamp",
    "overloaded",
    "deadline_exceeded",
    "internal",
]


class ErrorDetail(Body):
    """A stable code for programs and a sentence for people."""

    code: ErrorCode
    message: str = Field(description="what was found, what is needed and what to do")


class ErrorBody(Body):
    """The body of every error that skinserve answers."""

    error: ErrorDetail


class BatchLine(Body):
    """One NDJSON line of ``POST /v1/lesion/batch``: a result or an error, never both."""

    index: int = Field(ge=0, description="position of the file in the request, from 0")
    result: LesionAnswer | None = None
    error: ErrorDetail | None = None
