"""The values that the tabs show and that the page's scripts read."""

from dataclasses import dataclass
from typing import ClassVar

from serve.schemas import PHOTO_FORMAT_NAMES, PHOTO_FORMATS
from ui.examples import Example


@dataclass(frozen=True, kw_only=True)
class PageSettings:
    """Hold limits and examples; equal for all visitors.

    Attributes:
        api: start of the API's addresses, relative to the page.
        deadline_s: longest wait for one answer of the API.
        max_photo_bytes: size limit of one photo.
        max_request_bytes: size limit of all photos of one request.
        accept: types of files for the file chooser; Safari converts other photos to the first one.
        suffixes: of files that are photos whatever their type.
        formats: names for people.
    """

    suffixes: ClassVar[str] = " ".join(suffix for format in PHOTO_FORMATS for suffix in format.suffixes)
    accept: ClassVar[str] = ",".join([*(format.mime_type for format in PHOTO_FORMATS), *suffixes.split()])
    formats: ClassVar[str] = PHOTO_FORMAT_NAMES

    api: str
    deadline_s: float
    max_photo_bytes: int
    max_request_bytes: int
    lesion_examples: tuple[Example, ...] = ()
    progress_examples: tuple[Example, ...] = ()

    @property
    def max_photo_mb(self) -> int:
        """Return the limit of one photo for people."""
        return round(self.max_photo_bytes / 1e6)
