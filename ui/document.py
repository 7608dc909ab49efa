"""The HTML document of the page, one per language: everything is in it, the scripts only connect it."""

from functools import lru_cache

from serve.schemas import DISCLAIMER
from ui.memory_files import PRINT_STYLE, SCREEN_STYLE
from ui.page import TABS, tab_labels
from ui.rendering import render
from ui.settings import PageSettings
from ui.tabs.about import about_tab
from ui.tabs.history import history_tab
from ui.tabs.lesion import lesion_tab
from ui.tabs.progress import progress_tab


class Document:
    """The document, rendered once for each language."""

    def __init__(self, settings: PageSettings) -> None:
        self._settings = settings
        self.html = lru_cache(self._render)

    def _render(self, language: str) -> str:
        settings = self._settings
        panels = {
            "lesion": lesion_tab(settings, language),
            "progress": progress_tab(settings, language),
            "history": history_tab(language),
            "about": about_tab(language),
        }
        return render(
            "document",
            language,
            settings=settings,
            labels=tab_labels(language),
            first=TABS[0],
            panels=panels,
            disclaimer=DISCLAIMER,
            screen_style=SCREEN_STYLE,
            print_style=PRINT_STYLE,
        )
