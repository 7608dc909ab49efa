"""What the page can be told: the ``args`` of the ``ui`` application in ``serve/local.yaml``."""

import tempfile
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

MIN_SERIES_PHOTOS, MAX_SERIES_PHOTOS = 2, 30  # as in the API


class UiConfig(BaseModel):
    """Where the page asks, and what it does with uploads."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    api_url: str = Field(default="http://127.0.0.1:8000", description="scheme, host and port of the HTTP API")
    deadline_s: float = Field(default=60, gt=0, description="longest wait for one answer of the API")
    uploads_folder: Path = Field(
        default=Path(tempfile.gettempdir()) / "skinserve-uploads",
        description="photos lie here, readable by this user only, from upload to answer",
    )
    max_upload_age_s: float = Field(
        default=600, gt=0, description="whatever became of it, no upload gets older"
    )
    max_photo_bytes: int = Field(default=20_000_000, gt=0, description="largest photo, as in the API")
