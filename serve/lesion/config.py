"""Settings of the lesion task."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator

from models.checkpoint import CheckpointMeta
from models.lesion.runtimes import EngineName
from models.limits import MAX_BATCH_PHOTOS
from serve.config import MAX_QUEUED_BATCHES, TaskConfig
from serve.lesion.verdict import LesionThresholds
from serve.runtime.loaded_model import threshold_of


class LesionConfig(TaskConfig):
    """Section ``lesion`` of the API's settings: the network, its batches and its limits."""

    checkpoints: tuple[str, ...] = Field(default=("weights/lesion",), min_length=1)
    device: str = Field(default="cpu", description="torch device of every replica")
    engine: EngineName = Field(
        default="auto", description="auto: on a CPU int8 if the release accepted it, on a GPU bfloat16"
    )
    num_threads: int = Field(default=1, gt=0, description="compute threads of a replica on a CPU")
    max_batch_size: int = Field(
        default=8, gt=0, description="photos computed at once, by all threads together"
    )

    thresholds: dict[str, LesionThresholds] = Field(
        default={}, description="of the verdict, by name of the model; default: those of its checkpoint"
    )
    max_photos_per_replica: int = Field(
        default_factory=lambda data: 3 * _batch(data),
        gt=0,
        description="photos in progress from which a replica rejects calls, because Serve counts calls and "
        "not photos. Default: three full batches, one computed, one waiting, one of batch requests",
    )
    max_photos_per_gateway: int = Field(
        default_factory=lambda data: MAX_QUEUED_BATCHES * _batch(data),
        gt=0,
        description="photos of single requests in progress; beyond, 503. Default: two full batches. Falls "
        "while the queue of the replicas is full",
    )
    coalesce_above: int = Field(
        default_factory=lambda data: _batch(data),
        gt=0,
        description="photos in flight above which new ones share calls. Default: a full batch; with several "
        "replicas on CPUs set as many batches",
    )
    max_batch_photos: int = Field(
        default=MAX_BATCH_PHOTOS, gt=0, description="photos of one POST /v1/lesion/batch"
    )
    max_batch_requests: int = Field(
        default=8, gt=0, description="batch requests in progress in a gateway; beyond, 503"
    )
    max_reports: int = Field(
        default=8,
        gt=0,
        description="reports in progress in a gateway; beyond, 503. One PDF is rendered at a time",
    )
    batch_concurrency: int = Field(
        default_factory=lambda data: _batch(data),
        gt=0,
        description="photos of batch requests in progress in a gateway; others wait. Default: a full batch",
    )

    @field_validator("thresholds", mode="before")
    @classmethod
    def _reject_thresholds_without_model(cls, thresholds: object) -> object:
        if isinstance(thresholds, Mapping) and ("benign" in thresholds or "malignant" in thresholds):
            raise ValueError(
                "thresholds are now by name of the model; write thresholds: {lesion-reference: "
                "{benign: …, malignant: …}}"
            )
        return thresholds  # pyright: ignore[reportUnknownVariableType]

    def thresholds_of(self, meta: CheckpointMeta) -> LesionThresholds:
        """Return the thresholds of the verdict: of these settings, or of the checkpoint.

        Without a threshold ``benign`` the checkpoint's verdict changes at ``malignant`` alone.

        Raises:
            CheckpointError: the checkpoint has no threshold ``malignant``.
        """
        malignant = threshold_of(meta, "malignant")
        benign = meta.thresholds.get("benign", malignant)
        return self.thresholds.get(meta.name) or LesionThresholds(benign=benign, malignant=malignant)


def _batch(data: dict[str, Any]) -> int:
    return data["max_batch_size"]
