"""Stored files of a job: its record and its parts."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from serve.jobs.schemas import UNFINISHED, Delivery, JobState
from serve.schemas import Body, ErrorDetail

RECORD_FORMAT = 1


class JobRecord(Body):
    """State of a job, written by the gateway that accepts it, then by the actor of jobs."""

    format: Literal[1] = RECORD_FORMAT
    id: str
    caller: str
    task: str
    model: str
    source: str | None
    request_id: str
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    state: JobState = "queued"
    num_photos: int
    num_parts: int
    num_scored: int = 0
    num_errors: int = 0
    photos_per_s: float | None = Field(default=None, description="since the job was started or resumed")
    has_photos: bool = Field(default=True, description="parts with the photos are still stored")
    is_deleted: bool = Field(default=False, description="the client deleted the job; files may be left")
    error: ErrorDetail | None = None
    webhook: Delivery | None = None

    @property
    def is_unfinished(self) -> bool:
        """Return whether the job is queued or running."""
        return self.state in UNFINISHED


class PartItem(Body):
    """One photo of a part: an address, a range of the part's data, or an error."""

    name: str
    address: str | None = None
    offset: int = 0
    size: int = 0
    error: ErrorDetail | None = None


class Part(Body):
    """Photos that one call scores."""

    first_index: int
    has_data: bool = Field(description="photos are stored beside this file, one after the other")
    items: list[PartItem]
