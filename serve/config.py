"""The ``args`` of the API application in ``local.yaml``. Replicas and CPUs are Serve's own settings."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """What every part of the configuration shares: no unknown names, no change after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LesionConfig(Settings):
    """The lesion network and how it is batched."""

    checkpoint: str = Field(
        default="weights/lesion", description="folder written by train.release, or its s3:// address"
    )
    device: str = Field(default="cpu", description="torch device of every replica")
    engine: Literal["auto", "pytorch", "pytorch-bf16", "onnxruntime", "onnxruntime-int8", "onednn-int8"] = (
        Field(
            default="auto",
            description="auto: on a CPU 8 bits if the checkpoint was released for them, on a GPU bfloat16",
        )
    )
    num_threads: int = Field(default=1, gt=0, description="threads that compute in a replica on a CPU")
    max_batch_size: int = Field(
        default=8, gt=0, description="photos computed at once, by all threads together"
    )
    max_photos: int | None = Field(
        default=None,
        gt=0,
        description="photos in work from which on a replica takes in no more; Serve only counts calls. "
        "Unless said: three full batches, one that computes, one that waits, one of batch requests",
    )


class FaceConfig(Settings):
    """The face stage; the size of its crops is that of the progress checkpoint."""

    device: str = Field(default="cpu", description="torch device of every replica")
    num_threads: int = Field(default=1, gt=0, description="threads that compute in a replica on a CPU")
    max_batch_size: int = Field(
        default=8, gt=0, description="photos computed at once, by all threads together"
    )


class ProgressConfig(Settings):
    """The progress network and how it is batched."""

    checkpoint: str = Field(
        default="weights/progress", description="folder written by train.release, or its s3:// address"
    )
    device: str = Field(default="cpu", description="torch device of every replica")
    num_threads: int = Field(default=1, gt=0, description="threads that compute in a replica on a CPU")
    max_batch_size: int = Field(default=60, gt=0, description="photos of all series computed at once")


class GatewayConfig(Settings):
    """What one gateway replica takes in, and for how long it works on it."""

    max_photo_bytes: int = Field(default=20_000_000, gt=0)
    max_photo_pixels: int = Field(
        default=50_000_000, gt=0, description="by the header of the file, before decoding"
    )
    max_request_bytes: int = Field(default=200_000_000, gt=0)
    max_json_bytes: int = Field(default=50_000_000, gt=0, description="body of POST /predict")
    max_batch_photos: int = Field(default=64, gt=0, description="photos of one POST /v1/lesion/batch")
    max_series_photos: int = Field(default=30, gt=1, description="photos of one series")
    face_side_px: int = Field(
        default=640, gt=0, description="long side of the photos that the face stage sees"
    )
    num_decode_threads: int = Field(
        default=2,
        gt=0,
        description="and one more for photos that take long, of which 50 megapixels take 400 MB",
    )
    batch_concurrency: int = Field(
        default=8,
        gt=0,
        description="photos of batch requests under way at once; others wait. Unless said: a full batch",
    )
    max_requests: int = Field(
        default=256, gt=0, description="requests being received or answered; beyond, 503"
    )
    max_spots: int = Field(
        default=16,
        gt=0,
        description="single spots in work; beyond, 503. Unless said: two full batches of the lesion stage. "
        "When its replicas take less, the gateway learns it",
    )
    bundle_from: int = Field(
        default=8,
        gt=0,
        description="photos of spots under way from which on several travel in one call. Unless said: a full "
        "batch; with several replicas on CPUs, as many batches",
    )
    max_batch_requests: int = Field(default=8, gt=0, description="batch requests in work; beyond, 503")
    max_faces: int = Field(
        default=60,
        gt=0,
        description="photos of series in work; beyond, 503. Unless said: two long series or two batches",
    )
    max_bytes_in_flight: int = Field(
        default=500_000_000, gt=0, description="bodies held in memory; beyond, 503"
    )
    retry_after_s: int = Field(default=2, gt=0, description="what Retry-After says")
    default_deadline_s: float = Field(
        default=60, gt=0, description="for requests without x-request-timeout-seconds"
    )
    max_deadline_s: float = Field(default=600, gt=0, description="the longest that a client may ask for")
    ready_after_s: float = Field(
        default=60, gt=0, description="a model is ready if it answered within this time"
    )


class ApiConfig(Settings):
    """All settings of the API application."""

    gateway: GatewayConfig = GatewayConfig()
    lesion: LesionConfig = LesionConfig()
    face: FaceConfig = FaceConfig()
    progress: ProgressConfig = ProgressConfig()
