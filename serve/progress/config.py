"""Settings of the progress task."""

from typing import Any

from pydantic import Field

from models.limits import MAX_FACE_PHOTO_SIDE_PX, MAX_JSON_BYTES, MAX_SERIES_PHOTOS
from serve.config import MAX_QUEUED_BATCHES, Settings, TaskConfig


class FaceDetectorConfig(Settings):
    """Section ``progress.face_detector``: MTCNN, the face descriptor, and their batches."""

    num_threads: int = Field(default=1, gt=0, description="compute threads of a replica")
    max_batch_size: int = Field(
        default=8, gt=0, description="photos computed at once, by all threads together"
    )
    descriptor: str | None = Field(
        default="weights/face-descriptor",
        description="checkpoint of the face descriptor; null: photos of different people are not detected",
    )


class ProgressConfig(TaskConfig):
    """Section ``progress`` of the API's settings: face detector, network, batches and limits."""

    checkpoints: tuple[str, ...] = Field(default=("weights/progress",), min_length=1)
    device: str = Field(default="cpu", description="torch device of every replica")
    num_threads: int = Field(default=1, gt=0, description="compute threads of a replica on a CPU")
    max_batch_size: int = Field(default=60, gt=0, description="photos of all series computed at once")
    face_detector: FaceDetectorConfig = FaceDetectorConfig()

    max_series_photos: int = Field(default=MAX_SERIES_PHOTOS, gt=1, description="photos of one series")
    max_photo_side_px: int = Field(
        default=MAX_FACE_PHOTO_SIDE_PX, gt=0, description="long side of the photos for the face detector"
    )
    max_json_bytes: int = Field(default=MAX_JSON_BYTES, gt=0, description="body of POST /predict")
    max_photos_per_gateway: int = Field(
        default_factory=lambda data: _photos_per_gateway(data),
        gt=0,
        description="photos of series in progress; beyond, 503. Default: two of the longest series, or two "
        "full batches of the face detector if that is more",
    )


def _photos_per_gateway(data: dict[str, Any]) -> int:
    return max(2 * data["max_series_photos"], MAX_QUEUED_BATCHES * data["face_detector"].max_batch_size)
