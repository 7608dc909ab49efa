"""Entry of the progress task in ``serve.tasks``."""

from functools import partial
from typing import get_args

from models.checkpoint import local_checkpoint, read_meta
from serve.config import MAX_QUEUED_BATCHES
from serve.feedback.schemas import FeedbackRules
from serve.progress.api import ProgressService, router
from serve.progress.config import ProgressConfig
from serve.progress.deployments import FaceDetector, ProgressClassifier
from serve.progress.open_inference import OPEN_INFERENCE
from serve.progress.schemas import Verdict
from serve.runtime.model_catalog import ModelCatalog, read_entry
from serve.task import NetworkDeployment, ServeTask, TaskApp


def build(config: ProgressConfig) -> TaskApp:
    """Apply the settings to deployments and service; raise CheckpointError if a checkpoint is invalid."""
    entries = [read_entry(address, "progress") for address in config.checkpoints]
    catalog = ModelCatalog("progress", entries, route="/v1/progress")
    if config.face_detector.descriptor:
        read_meta(local_checkpoint(config.face_detector.descriptor))
    detector = FaceDetector.options(  # pyright: ignore[reportAttributeAccessIssue]
        max_ongoing_requests=MAX_QUEUED_BATCHES * config.face_detector.max_batch_size
    )
    return TaskApp(
        networks={
            "face": NetworkDeployment(deployment=detector, config=config.face_detector),
            "progress": NetworkDeployment(deployment=ProgressClassifier, config=config),
        },
        create_service=partial(ProgressService, config, catalog),
    )


PROGRESS_TASK = ServeTask(
    name="progress",
    description="Is this face getting better?",
    config=ProgressConfig,
    router=router,
    build=build,
    feedback=FeedbackRules(verdicts=get_args(Verdict)),
    open_inference=OPEN_INFERENCE,
)
