"""HTTP bodies that all tasks share; each task adds its own in ``serve.<task>.schemas``.

No Ray and no torch: ``ui/`` imports this too. A test freezes the resulting OpenAPI document.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, ValidationInfo, field_validator

from models.diagnoses import Group as Group
from models.lesion.metrics import LesionMetrics
from models.lesion.metrics import LesionVerdictMetrics as LesionVerdictMetrics
from models.limits import DEFAULT_DEADLINE_S as DEFAULT_DEADLINE_S
from models.limits import MAX_DECODE_S as MAX_DECODE_S
from models.limits import MAX_HELPER_BYTES as MAX_HELPER_BYTES
from models.limits import MAX_PHOTO_BYTES as MAX_PHOTO_BYTES
from models.limits import MAX_REQUEST_BYTES as MAX_REQUEST_BYTES
from models.limits import MAX_SERIES_PHOTOS as MAX_SERIES_PHOTOS
from models.limits import MAX_TOP_K as MAX_TOP_K
from models.limits import MIN_SERIES_PHOTOS as MIN_SERIES_PHOTOS
from models.limits import PHOTO_FORMAT_NAMES as PHOTO_FORMAT_NAMES
from models.limits import PHOTO_FORMATS as PHOTO_FORMATS
from models.limits import PhotoFormat as PhotoFormat
from models.metrics import Metric as Metric
from models.metrics import TaskMetrics
from models.progress.metrics import ProgressMetrics
from models.task_metrics import parse_metrics

DISCLAIMER = (
    "Research software, not a medical device. It can be wrong. "
    "Show any skin problem that worries you, or that changes, to a doctor."
)

DEADLINE_HEADER = "x-request-timeout-seconds"
API_KEY_HEADER = "X-API-Key"
"""Header for clients that cannot set ``Authorization: Bearer``."""
"""Request header with the time for the response."""
Probability = Field(ge=0, le=1)


class Body(BaseModel):
    """Reject unknown fields; immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelName(Body):
    """Name and version of the checkpoint."""

    name: str = Field(examples=["lesion-reference"])
    version: str = Field(examples=["1"])


class Gate(Body):
    """What a lesion network needs to see in a photo, and how often it rejects good photos."""

    min_scope: float = Field(description="scope probability of the network, below: not usable")
    min_skin: float = Field(description="skin probability of the localizer, below: not_skin")
    min_lesion: float = Field(description="lesion probability of the localizer, below: no_lesion")
    min_box_px: float = Field(
        description="longer side of the lesion in pixels of the photo, below: lesion_too_small"
    )
    min_sharpness: float = Field(description="sharpness of the crop, 0 to 1, below: blurred")
    false_rejections: dict[str, Metric] = Field(
        description="by source: share of unchanged validation photos that are not usable"
    )
    localizer_sha256: str = Field(description="of localizer.onnx")


class LoadedModel(Body):
    """One network that the server has loaded, or loads on request."""

    kind: str = Field(description="task of the network")
    name: str
    version: str
    default: bool = Field(description="whether it answers requests without ?model=")
    stage: str | None = Field(default=None, description="in the registry; null without one")
    description: str = Field(default="", description="what it is good for")
    sha256: str = Field(description="of weights.safetensors")
    labels: list[str] = Field(description="in the order of the output columns")
    groups: dict[str, Group] = Field(description="group of each label; empty without groups")
    input_px: int = Field(description="side of the square input, pixels")
    thresholds: dict[str, float] = Field(
        description="in effect: of the settings, else of the checkpoint; name_diagnosis: probability below "
        "which no diagnosis is named"
    )
    released_thresholds: dict[str, float] = Field(
        default={}, description="of the checkpoint, at which the metrics were measured"
    )
    ranking_weights: dict[str, float] = Field(
        default={}, description="of each label when diagnoses are ranked; empty: by probability alone"
    )
    gate: Gate | None = Field(
        default=None, description="of a lesion network; null: it classifies every photo with enough light"
    )
    metrics: LesionMetrics | ProgressMetrics | SerializeAsAny[TaskMetrics] = Field(
        description="with data set, split, n and 95% confidence intervals"
    )
    training_data: str
    data_licence: str
    device: str | None = Field(
        description="null, as the engine: not loaded in the replica that answered; a request loads it"
    )
    engine: str | None
    cuda_graphs: bool | None = Field(
        description="whether batches replay CUDA graphs; false: recording failed, see the log; null: an "
        "engine without CUDA graphs"
    )
    model_card: str = Field(description="Markdown")

    @field_validator("metrics", mode="before")
    @classmethod
    def _parse_metrics(cls, content: object, info: ValidationInfo) -> TaskMetrics:
        return parse_metrics(info.data.get("kind", ""), content)


class Models(Body):
    """Response of ``GET /v1/models``."""

    models: list[LoadedModel]
    feedback: bool = Field(default=False, description="whether `POST /v1/feedback` stores feedback")
    disclaimer: str = DISCLAIMER


class Health(Body):
    """Response of ``GET /healthz`` and ``GET /readyz``."""

    status: Literal["ok", "starting"]
    waiting_for: list[str] = Field(
        default=[], description="models without a recent answer to a warm-up batch"
    )


ReasonCode = Literal[
    "too_small",
    "too_dark",
    "overexposed",
    "not_skin",
    "no_lesion",
    "lesion_too_small",
    "blurred",
    "unfamiliar",
    "near_threshold",
    "several_lesions",
    "times_missing",
    "different_people",
    "no_clear_change",
    "few_faces",
    "light_differs",
]


class Reason(Body):
    """Why an answer is inconclusive, or what weakens it."""

    code: ReasonCode
    message: str = Field(description="what was found, what is needed and what to do")


ErrorCode = Literal[
    "unreadable_image",
    "unreadable_archive",
    "unauthorized",
    "forbidden",
    "not_found",
    "method_not_allowed",
    "not_acceptable",
    "too_large",
    "too_many_pixels",
    "unsupported_type",
    "invalid_request",
    "no_face",
    "too_few_photos",
    "too_many_photos",
    "bad_timestamp",
    "rate_limited",
    "overloaded",
    "model_unavailable",
    "feedback_quota",
    "feedback_unavailable",
    "jobs_unavailable",
    "deadline_exceeded",
    "pdf_unavailable",
    "internal",
]


class RejectedPhoto(Body):
    """A photo of a series that cannot be used."""

    index: int = Field(description="position in the request, from 0")
    code: ErrorCode
    message: str = Field(description="what was found, what is needed and what to do")


class ErrorDetail(Body):
    """Stable code for programs, sentence for people."""

    code: ErrorCode
    message: str = Field(description="what was found, what is needed and what to do")
    photos: list[RejectedPhoto] | None = Field(
        default=None,
        exclude_if=lambda photos: photos is None,
        description="of `POST /v1/progress`: all photos that cannot be used; code and message are those of "
        "the first one. Missing in other errors",
    )


class ErrorBody(Body):
    """Body of every error response."""

    error: ErrorDetail
