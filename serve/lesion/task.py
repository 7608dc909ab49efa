"""Entry of the lesion task in ``serve.tasks``."""

from functools import partial
from typing import get_args

from models.checkpoint import LOCALIZER, CheckpointError, local_checkpoint, read_verified
from models.diagnoses import DIAGNOSES
from models.lesion.gate import gate_of
from serve.config import MAX_QUEUED_BATCHES
from serve.feedback.schemas import FeedbackRules
from serve.jobs.scorer import JobTask
from serve.lesion.api import LesionService
from serve.lesion.config import LesionConfig
from serve.lesion.deployment import LesionClassifier
from serve.lesion.open_inference import OPEN_INFERENCE
from serve.lesion.report.api import router  # that of serve.lesion.api with one more route
from serve.lesion.verdict import Verdict
from serve.runtime.model_catalog import ModelCatalog, read_entry
from serve.task import NetworkDeployment, ServeTask, TaskApp


def build(config: LesionConfig) -> TaskApp:
    """Apply the settings to deployment and service; raise CheckpointError if a checkpoint is invalid."""
    entries = [read_entry(address, "lesion") for address in config.checkpoints]
    for entry in entries:  # here, because a gateway that fails to start is started again for ever
        config.thresholds_of(entry.meta)
        gate = gate_of(entry.meta)
        if gate is not None:
            read_verified(local_checkpoint(entry.address) / LOCALIZER, gate.localizer_sha256)
    catalog = ModelCatalog("lesion", entries, route="/v1/lesion")
    unknown = set(config.thresholds) - {entry.name for entry in entries}
    if unknown:
        raise CheckpointError(
            f"lesion.thresholds has {', '.join(sorted(unknown))}, the checkpoints are "
            f"{', '.join(entry.selector for entry in entries)}; correct the name"
        )
    # Serve counts calls; the replica counts photos itself, by config.max_photos_per_replica
    classifier = LesionClassifier.options(  # pyright: ignore[reportAttributeAccessIssue]
        max_ongoing_requests=MAX_QUEUED_BATCHES * config.max_batch_size,
        max_queued_requests=config.max_batch_size,
    )
    return TaskApp(
        networks={"lesion": NetworkDeployment(deployment=classifier, config=config)},
        create_service=partial(LesionService, config, catalog),
    )


LESION_TASK = ServeTask(
    name="lesion",
    description="Is this lesion harmful, and what is it?",
    config=LesionConfig,
    router=router,
    build=build,
    feedback=FeedbackRules(
        verdicts=get_args(Verdict), labels=tuple(diagnosis.name for diagnosis in DIAGNOSES), takes_photo=True
    ),
    open_inference=OPEN_INFERENCE,
    jobs=JobTask(score=LesionService.classify_of_job),
)
