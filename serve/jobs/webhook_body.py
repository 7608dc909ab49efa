"""Body of a webhook: the end of a job, without names of photos."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from serve.jobs.records import JobRecord
from serve.jobs.schemas import JobState
from serve.schemas import Body, ErrorDetail


class WebhookJob(Body):
    """The job of a webhook."""

    id: str
    state: JobState = Field(description="done or failed")
    task: str
    model: str
    photos: int
    scored: int
    errors: int
    error: ErrorDetail | None
    request_id: str


class WebhookBody(Body):
    """Body of a webhook, as Standard Webhooks recommends."""

    type: Literal["job.finished"] = "job.finished"
    timestamp: datetime = Field(description="end of the job")
    data: WebhookJob


def webhook_body(record: JobRecord) -> bytes:
    """Return the JSON body, the same for all attempts."""
    data = WebhookJob(
        id=record.id,
        state=record.state,
        task=record.task,
        model=record.model,
        photos=record.num_photos,
        scored=record.num_scored,
        errors=record.num_errors,
        error=record.error,
        request_id=record.request_id,
    )
    return (
        WebhookBody(timestamp=record.finished_at or record.created_at, data=data).model_dump_json().encode()
    )
