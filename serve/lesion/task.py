"""Entry of the lesion task in ``serve.tasks``."""

from functools import partial

from models.checkpoint import LOCALIZER, local_checkpoint, read_meta, read_verified
from models.lesion.gate import gate_of
from serve.config import MAX_QUEUED_BATCHES
from serve.lesion.api import LesionService, router
from serve.lesion.config import LesionConfig
from serve.lesion.deployment import LesionClassifier
from serve.task import ServeTask, TaskApp


def build(config: LesionConfig) -> TaskApp:
    """Apply the settings to deployment and service; raise CheckpointError if the checkpoint is invalid."""
    folder = local_checkpoint(config.checkpoint)
    meta = read_meta(folder)
    gate = gate_of(meta)
    if gate is not None:  # here, because a gateway that fails to start is started again for ever
        read_verified(folder / LOCALIZER, gate.localizer_sha256)
    # Serve counts calls; the replica counts photos itself, by config.max_photos_per_replica
    classifier = LesionClassifier.options(  # pyright: ignore[reportAttributeAccessIssue]
        max_ongoing_requests=MAX_QUEUED_BATCHES * config.max_batch_size,
        max_queued_requests=config.max_batch_size,
    ).bind(config)
    return TaskApp(deployments={"lesion": classifier}, create_service=partial(LesionService, config, meta))


LESION_TASK = ServeTask(
    name="lesion",
    description="Is this lesion harmful, and what is it?",
    config=LesionConfig,
    router=router,
    models=("lesion",),
    build=build,
)
