"""Settings of the API application: the ``args`` in local.yaml, composed.yaml and gpu.yaml.

Each task adds a section of its own (``serve.<task>.config``, joined in ``serve.tasks``). Replicas and CPUs
are settings of Ray Serve.
"""

import math
from collections.abc import Mapping
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from models.limits import (
    DEFAULT_DEADLINE_S,
    MAX_DEADLINE_S,
    MAX_PHOTO_BYTES,
    MAX_PHOTO_PIXELS,
    MAX_REQUEST_BYTES,
)
from serve.jobs.config import JobsConfig
from serve.runtime.forwarded_headers import TrustedProxy
from serve.runtime.security_headers import check_origin

MAX_QUEUED_BATCHES = 2
"""Full batches that a replica accepts: one is computed while the photos of the next arrive."""


class Settings(BaseModel):
    """Reject unknown names; immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Limit(Settings):
    """Limit the requests and photos of one caller; None is unlimited."""

    requests_per_second: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    burst: int | None = Field(
        default=None, ge=1, description="requests at once; default: those of two seconds, at least 2"
    )
    photos_per_day: int | None = Field(default=None, ge=1)
    time_zone: str = Field(
        default="UTC", description="its midnight starts a day; IANA name such as Europe/Berlin"
    )

    @field_validator("time_zone")
    @classmethod
    def _check_time_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:  # ZoneInfoNotFoundError is a KeyError
            raise ValueError(
                f"{name!r} is no time zone; write an IANA name, such as Europe/Berlin"
            ) from error
        return name

    @property
    def burst_size(self) -> int | None:
        """Return the size of a burst; None: requests are not limited.

        The default is at least 2: with 1, a client at exactly its rate is rejected if a request is early.
        """
        if self.requests_per_second is None:
            return None
        return self.burst or max(2, math.ceil(2 * self.requests_per_second))


class TaskConfig(Settings):
    """Section of one task, named after it."""

    checkpoints: tuple[str, ...] = Field(
        min_length=1,
        description="folders written by train.release, or their s3:// addresses; the first is the default "
        "model, clients choose others by ?model=name or ?model=name@version",
    )
    max_models_per_replica: int = Field(
        default=4,
        gt=1,
        description="loaded models of a replica, the default one included; beyond, the least recently "
        "used one is evicted, never the default one",
    )

    @model_validator(mode="before")
    @classmethod
    def _reject_old_name(cls, data: object) -> object:
        if isinstance(data, Mapping) and "checkpoint" in data:
            raise ValueError(
                f"checkpoint is now the list checkpoints; write checkpoints: [{data['checkpoint']}]"
            )
        return data  # pyright: ignore[reportUnknownVariableType]


class CanaryLimits(Settings):
    """Bounds on the differences between canary and production; null disables a bound.

    A canary that exceeds a bound is rolled back.
    """

    window_s: float = Field(default=600, gt=0, description="length of the sliding window of compared answers")
    min_answers: int = Field(default=50, gt=0, description="of the canary, before anything is compared")
    max_error_increase: float | None = Field(
        default=0.05, ge=0, lt=1, description="share of requests that fail, above that of production"
    )
    max_latency_ratio: float | None = Field(
        default=2.0, ge=1, description="time within which 95% are answered, relative to production"
    )
    max_share_difference: float | None = Field(
        default=0.15, ge=0, le=1, description="of any verdict or reason, between canary and production"
    )
    alpha: float = Field(default=0.001, gt=0, lt=1, description="significance level of each comparison")
    max_shadow_requests: int = Field(
        default=2, gt=0, description="shadow requests in progress in a gateway; others are not compared"
    )


class GatewayConfig(Settings):
    """Limits and deadlines of one gateway replica, for all tasks together."""

    max_photo_bytes: int = Field(default=MAX_PHOTO_BYTES, gt=0)
    max_photo_pixels: int = Field(
        default=MAX_PHOTO_PIXELS,
        gt=0,
        description="of a JPEG, by its header; models/limits.py has lower limits of other formats",
    )
    max_request_bytes: int = Field(
        default=MAX_REQUEST_BYTES, gt=0, description="body of a request with several photos"
    )
    num_decode_threads: int = Field(
        default=2,
        gt=0,
        description="one more decodes slow photos, of which 50 megapixels take 400 MB",
    )
    max_requests: int = Field(
        default=256, gt=0, description="requests being received or answered; beyond, 503"
    )
    max_bytes_in_flight: int = Field(
        default=500_000_000, gt=0, description="request bodies in memory; beyond, 503"
    )
    retry_after_s: int = Field(default=2, gt=0, description="Retry-After of a 503")
    default_deadline_s: float = Field(
        default=DEFAULT_DEADLINE_S,
        gt=0,
        le=MAX_DEADLINE_S,
        description="of requests without x-request-timeout-seconds",
    )
    max_deadline_s: float = Field(
        default=MAX_DEADLINE_S, gt=0, le=MAX_DEADLINE_S, description="maximum of x-request-timeout-seconds"
    )
    ready_after_s: float = Field(
        default=60, gt=0, description="a model counts as ready for this time after its last answer"
    )
    networks_in_gateway: bool = Field(
        default=False,
        description="each gateway holds all networks; deployments of their own are not started. For one "
        "machine without a GPU",
    )
    keys_file: str | None = Field(
        default=None, description="path of keys.yaml; then all requests but health checks need a key"
    )
    page_key_sha256: str | None = Field(
        default=None, pattern="^[0-9a-f]{64}$", description="set by python -m serve, for the key of its page"
    )
    grpc_local_only: bool = Field(
        default=False,
        description="set by python -m serve: gRPC calls from other machines must pass HAProxy",
    )
    audit_log: str | None = Field(
        default=None,
        description="path of a file with a line of JSON for each request, health checks excepted",
    )
    audit_log_max_bytes: int = Field(
        default=50_000_000, gt=0, description="size at which the audit log is rotated"
    )
    audit_log_files: int = Field(default=10, gt=0, description="rotated audit logs that are kept")
    registry: str | None = Field(
        default=None,
        description="folder or s3:// address of a model registry, whose stages the server follows",
    )
    registry_poll_s: float = Field(default=10, gt=0, description="interval between two reads of the registry")
    canary: CanaryLimits = CanaryLimits()
    allowed_origins: tuple[str, ...] = Field(
        default=(),
        description='origins whose pages may call the API (CORS), as "https://clinic.example"; ["*"]: all',
    )
    trusted_proxy: TrustedProxy | None = Field(
        default=None, description="applies its X-Forwarded-Prefix, -Proto, -Host and -For"
    )
    client_limit: Limit | None = Field(
        default=None,
        description="without keys: of each client address that the trusted proxy sends, else of all clients "
        "together",
    )
    quota_folder: str | None = Field(
        default=None, description="path or s3:// address that keeps the photos of today over restarts"
    )
    feedback: str | None = Field(
        default=None,
        min_length=1,
        description="path or s3:// address that stores the feedback of people who consent; null: "
        "/v1/feedback answers 404",
    )
    feedback_max_mb: int = Field(default=1000, gt=0, description="size of all stored feedback; beyond, 503")
    feedback_max_mb_per_address: int | None = Field(
        default=200,
        gt=0,
        description="size of the stored feedback of each client address that the trusted proxy sends, and of "
        "each key; of all other clients together; beyond, 429; null: no limit",
    )
    feedback_per_minute: int | None = Field(
        default=60, gt=0, description="of all callers without a key together; null: no limit"
    )

    jobs: JobsConfig | None = Field(
        default=None, description="jobs of many photos; null: /v1/jobs answers 404"
    )

    @field_validator("allowed_origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin != "*":
                check_origin(origin)
        if "*" in origins and len(origins) > 1:
            raise ValueError("'*' allows all origins; leave out the others")
        return origins


class ApiConfig(Settings):
    """Settings of the API application; ``serve.tasks.read_config`` adds a section of each task."""

    gateway: GatewayConfig = GatewayConfig()
