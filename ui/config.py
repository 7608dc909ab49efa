"""Settings of the page: the ``args`` of the ``ui`` application in ``serve/local.yaml``."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from serve.runtime.forwarded_headers import TrustedProxy
from serve.runtime.security_headers import check_origin
from serve.schemas import DEFAULT_DEADLINE_S, MAX_PHOTO_BYTES, MAX_REQUEST_BYTES

Access = Literal["open", "off", "proxy"]


class UiConfig(BaseModel):
    """Set the address of the API, the access and the limits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    api_url: str = Field(default="http://127.0.0.1:8000", description="scheme, host and port of the HTTP API")
    api_key_file: Path | None = Field(
        default=None, description="holds the key of the page for an API with keys; set by python -m serve"
    )
    access: Access | None = Field(
        default=None,
        description="access to the page: open to everybody, proxy: through the trusted proxy only, or off; "
        "default: open, with api_key_file off",
    )
    deadline_s: float = Field(
        default=DEFAULT_DEADLINE_S, gt=0, description="longest wait for one answer of the API, seconds"
    )
    max_photo_bytes: int = Field(default=MAX_PHOTO_BYTES, gt=0, description="largest photo, as in the API")
    max_request_bytes: int = Field(
        default=MAX_REQUEST_BYTES, gt=0, description="all photos of one request, as in the API"
    )
    trusted_proxy: TrustedProxy | None = Field(
        default=None, description="as the setting of the same name in serve/config.py"
    )
    embedding_origins: tuple[str, ...] = Field(
        default=(),
        description='origins whose pages may embed this one in a frame, such as "https://portal.example"; '
        "the page's own origin always may",
    )

    @field_validator("embedding_origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            check_origin(origin)
        return origins

    @model_validator(mode="after")
    def _check_access(self) -> "UiConfig":
        if self.access == "proxy" and self.trusted_proxy is None:
            raise ValueError("access: proxy needs trusted_proxy, or nobody could open the page")
        return self

    @property
    def page_access(self) -> Access:
        """Return the setting, or a default that never shares the key of the page."""
        return self.access or ("off" if self.api_key_file else "open")
