"""Settings of jobs, section ``gateway.jobs``."""

import os
from ipaddress import IPv4Network, IPv6Network

from pydantic import BaseModel, ConfigDict, Field, field_validator

from models.storage_errors import SCHEME


class JobsConfig(BaseModel):
    """Where jobs are stored, what they may read, and their limits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: str = Field(
        min_length=1,
        description="path or s3:// address of jobs, photos that wait and results; one for each server",
    )
    sources: tuple[str, ...] = Field(
        default=(),
        description="folders and s3:// addresses that clients may name, with everything below them; none: "
        "uploads only",
    )
    max_archive_bytes: int = Field(default=1_000_000_000, gt=0, description="size of an uploaded archive")
    max_photos: int = Field(default=10_000, gt=0, le=1_000_000, description="photos of one job")
    max_running_jobs: int = Field(default=2, gt=0, description="jobs at once; others are queued")
    max_unfinished: int = Field(
        default=100, gt=0, description="queued and running jobs of all callers together; beyond, 503"
    )
    max_unfinished_per_caller: int = Field(
        default=10, gt=0, description="queued and running jobs of one caller; beyond, 429"
    )
    max_stored_per_caller: int = Field(
        default=2000, gt=0, description="jobs of one caller, finished ones included; beyond, 429"
    )
    max_concurrent_parts: int = Field(
        default=4, gt=0, description="parts of up to 32 photos that gateways score at once, all jobs together"
    )
    max_concurrent_photos_per_gateway: int = Field(
        default=8, gt=0, description="photos of jobs in progress in a gateway"
    )
    retention_days: float = Field(
        default=7, gt=0, description="finished jobs and their results are kept so long"
    )
    fail_after_s: float = Field(
        default=600,
        gt=0,
        description="a job fails when a photo source or the model cannot be used for this time",
    )
    webhook_secret_file: str | None = Field(
        default=None, description="file with the secret whsec_BASE64 that signs webhooks; null: no webhooks"
    )
    webhook_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(),
        description="private networks that webhooks may reach, also without TLS, as 10.1.0.0/16; others than "
        "these and public addresses are refused",
    )

    @field_validator("sources")
    @classmethod
    def _check_sources(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        for source in sources:
            if ".." in source.split("/") or source in ("", "/", SCHEME):
                raise ValueError(
                    f"source {source!r} allows too much; name a folder, or a bucket as s3://name"
                )
        return sources

    def with_absolute_paths(self) -> "JobsConfig":
        """Return these settings with absolute local paths."""
        secret = self.webhook_secret_file
        return self.model_copy(
            update={
                "folder": _absolute(self.folder),
                "sources": tuple(map(_absolute, self.sources)),
                "webhook_secret_file": None if secret is None else os.path.abspath(secret),
            }
        )


def _absolute(address: str) -> str:
    return address if address.startswith(SCHEME) else os.path.abspath(address)
