"""The API application: every ``bind()`` of it."""

from ray.serve import Application

from models.checkpoint import local_checkpoint, read_meta
from serve.config import ApiConfig
from serve.face import FaceDetector
from serve.gateway import Gateway
from serve.lesion import LesionClassifier
from serve.progress import ProgressClassifier


def build_app(config: ApiConfig) -> Application:
    """Build the API; Serve calls this with the ``args`` of ``local.yaml``.

    Raises:
        CheckpointError: a checkpoint is missing or not understood, before anything has been started.
    """
    lesion = read_meta(local_checkpoint(config.lesion.checkpoint))
    progress = read_meta(local_checkpoint(config.progress.checkpoint))
    return Gateway.bind(  # pyright: ignore[reportAttributeAccessIssue]
        config.gateway,
        lesion.input_px,
        LesionClassifier.bind(config.lesion),
        FaceDetector.bind(config.face, progress.input_px),
        ProgressClassifier.bind(config.progress),
    )
