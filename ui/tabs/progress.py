"""The Progress tab: a series of photos of one face, classified as improved or worsened."""

from serve.schemas import DISCLAIMER, MAX_SERIES_PHOTOS, MIN_SERIES_PHOTOS
from ui.rendering import render
from ui.settings import PageSettings
from ui.translation import DEFAULT_LANGUAGE


def progress_tab(settings: PageSettings, language: str = DEFAULT_LANGUAGE) -> str:
    """Render the tab with all its states; ``ui/static/progress.js`` switches between them."""
    return render(
        "progress_tab",
        language,
        settings=settings,
        min_photos=MIN_SERIES_PHOTOS,
        max_photos=MAX_SERIES_PHOTOS,
        disclaimer=DISCLAIMER,
    )
