"""File with the photo counts of today, in a folder or a bucket."""

import contextlib
from datetime import date

from pydantic import Field, field_validator

from models.storage import join, read_bytes, write_bytes
from models.storage_errors import MissingError, StorageError
from serve.config import Limit, Settings
from serve.runtime.token_bucket import DailyQuota

FILE_NAME = "photo_quotas.json"
FORMAT = 1
PRIVATE = 0o600
"""The names of callers can be personal data."""


class _SavedQuota(Settings):
    day: date
    time_zone: str
    used: int = Field(ge=0)

    @field_validator("time_zone")
    @classmethod
    def _check_time_zone(cls, name: str) -> str:
        return Limit(time_zone=name).time_zone


class _SavedQuotas(Settings):
    format: int
    quotas: dict[str, _SavedQuota]
    """By caller."""


class QuotaFile:
    """Read and write photo counts.

    Errors are returned as messages, because counting goes on.

    Args:
        folder: path or s3:// address.
    """

    def __init__(self, folder: str) -> None:
        self._address = join(folder, FILE_NAME)

    def load(self) -> tuple[dict[str, DailyQuota], str]:
        """Return the saved counts, and the problem with the file or an empty string."""
        try:
            content = read_bytes(self._address)
        except MissingError:
            return {}, ""
        except StorageError as error:
            return {}, f"photo counts were not read, so that all start at 0: {error}"
        try:
            saved = _SavedQuotas.model_validate_json(content)
            if saved.format != FORMAT:
                raise ValueError(f"its format is {saved.format}, this server reads {FORMAT}")
        except ValueError as error:
            copy = f"{self._address}.invalid"
            with contextlib.suppress(StorageError):
                write_bytes(copy, content, mode=PRIVATE)
            reason = str(error).splitlines()[0]
            return {}, f"photo counts start at 0: {self._address} is invalid ({reason}); its copy is {copy}"
        return {
            caller: DailyQuota(one.time_zone, day=one.day, used=one.used)
            for caller, one in saved.quotas.items()
        }, ""

    def save(self, quotas: dict[str, DailyQuota]) -> str:
        """Replace the file atomically; return the problem or an empty string."""
        saved = {
            caller: _SavedQuota(day=one.day, time_zone=one.time_zone, used=one.used)
            for caller, one in quotas.items()
        }
        content = _SavedQuotas(format=FORMAT, quotas=saved).model_dump_json(indent=1)
        try:
            write_bytes(self._address, content.encode(), mode=PRIVATE)
        except StorageError as error:
            return f"photo counts are kept in memory only: {error}"
        return ""
