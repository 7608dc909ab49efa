"""The API application: every ``bind()`` of it."""

from ray.serve import Application

from models.checkpoint import local_checkpoint, read_meta
from serve.config import ApiConfig, GatewayConfig
from serve.gateway import Gateway
from serve.lesion.deployment import LesionClassifier
from serve.progress.deployment import ProgressClassifier
from serve.progress.face_deployment import FaceDetector

MAX_QUEUED_BATCHES = 2
"""Full batches that a replica holds: one computes while the next is decoded, sent and waits.

Serve counts calls. One to the lesion network carries up to eight photos when there are many, so that its
replicas count their photos too (``LesionConfig.max_photos``).
"""


def build_app(config: ApiConfig) -> Application:
    """Build the API; Serve calls this with the ``args`` of ``local.yaml``.

    Raises:
        CheckpointError: a checkpoint is missing or not understood, before anything has been started.
    """
    lesion = read_meta(local_checkpoint(config.lesion.checkpoint))
    progress = read_meta(local_checkpoint(config.progress.checkpoint))
    lesion_batch, face_batch = config.lesion.max_batch_size, config.face.max_batch_size
    return Gateway.bind(  # pyright: ignore[reportAttributeAccessIssue]
        with_derived_limits(config),
        lesion.input_px,
        LesionClassifier.options(  # pyright: ignore[reportAttributeAccessIssue]
            max_ongoing_requests=MAX_QUEUED_BATCHES * lesion_batch, max_queued_requests=lesion_batch
        ).bind(config.lesion),
        FaceDetector.options(  # pyright: ignore[reportAttributeAccessIssue]
            max_ongoing_requests=MAX_QUEUED_BATCHES * face_batch
        ).bind(config.face, progress.input_px),
        ProgressClassifier.bind(config.progress),
    )


def with_derived_limits(config: ApiConfig) -> GatewayConfig:
    """Fit what a gateway takes on to the batches of the networks, where the config leaves it open."""
    fitting = {
        "max_spots": MAX_QUEUED_BATCHES * config.lesion.max_batch_size,
        "batch_concurrency": config.lesion.max_batch_size,
        "bundle_from": config.lesion.max_batch_size,
        "max_faces": max(
            2 * config.gateway.max_series_photos, MAX_QUEUED_BATCHES * config.face.max_batch_size
        ),
    }
    said = config.gateway.model_fields_set
    return config.gateway.model_copy(update={name: fitting[name] for name in fitting.keys() - said})
