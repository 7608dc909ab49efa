"""The services that the handlers of every tab share."""

from dataclasses import dataclass

from ui.client import ApiClient
from ui.uploads import UploadFolder


@dataclass(frozen=True, kw_only=True)
class Services:
    """Hold the API client and the folder of uploads."""

    api: ApiClient
    uploads: UploadFolder
