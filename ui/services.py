"""What the handlers of every tab need."""

from dataclasses import dataclass

from ui.client import ApiClient
from ui.uploads import UploadFolder


@dataclass(frozen=True, kw_only=True)
class Services:
    """The API, and the folder in which uploads lie until their answer."""

    api: ApiClient
    uploads: UploadFolder
