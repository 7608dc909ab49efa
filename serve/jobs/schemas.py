"""HTTP bodies of the routes of jobs."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from serve.schemas import DISCLAIMER, Body, ErrorDetail

JobState = Literal["queued", "running", "done", "failed"]
DeliveryState = Literal["waiting", "delivered", "failed"]

UNFINISHED: tuple[JobState, ...] = ("queued", "running")


class JobSource(Body):
    """JSON body of ``POST /v1/jobs``."""

    source: str = Field(
        min_length=1,
        max_length=2000,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="folder or s3:// address with photos, in one of gateway.jobs.sources",
        examples=["s3://clinic/2026-11"],
    )


class Delivery(Body):
    """Webhook of a job."""

    url: str
    state: DeliveryState = Field(default="waiting", description="waiting: for the end of the job, or a retry")
    attempts: int = 0
    problem: str | None = Field(default=None, description="of the last attempt")


class JobStatus(Body):
    """State of one job."""

    id: str = Field(examples=["20261127T093000-9f86d081884c7d65"])
    state: JobState
    task: str = Field(examples=["lesion"])
    model: str = Field(description="name@version, for all photos", examples=["lesion-reference@6"])
    source: str | None = Field(description="null: an uploaded archive")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    photos: int = Field(description="files of the source or archive, one row each")
    scored: int = Field(description="rows that are stored, errors included")
    errors: int = Field(description="rows with an error")
    eta_s: float | None = Field(description="estimate of the time left; null before the first photos")
    results: str = Field(description="path of the rows", examples=["/v1/jobs/ID/results"])
    expires_at: datetime | None = Field(description="a finished job is deleted then")
    error: ErrorDetail | None = Field(description="why the job failed")
    webhook: Delivery | None
    request_id: str = Field(description="of the request that created the job")
    disclaimer: str = DISCLAIMER


class JobList(Body):
    """Response of ``GET /v1/jobs``."""

    jobs: list[JobStatus] = Field(description="newest first; of the caller, for admin of all callers")


class JobRow(Body):
    """One NDJSON line of the results: a result or an error, never both."""

    index: int = Field(ge=0, description="position in the archive or the sorted source, from 0")
    name: str = Field(description="in the archive, or below the source")
    result: Any = Field(default=None, description="as the task's route for one photo answers")
    error: ErrorDetail | None = None
