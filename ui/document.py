"""What the page adds to Gradio's HTML document: templates of all tabs, texts, scripts; one per language."""

from functools import lru_cache

from serve.schemas import DISCLAIMER
from ui.gradio_internals import DocumentParts
from ui.memory_files import OFFLINE_SCRIPT, scripts
from ui.page import tab_labels
from ui.rendering import render
from ui.settings import PageSettings
from ui.tabs.about import about_tab
from ui.tabs.history import history_tab
from ui.tabs.lesion import lesion_tab
from ui.tabs.progress import progress_tab
from ui.translation import DEFAULT_LANGUAGE, direction


class Document:
    """The parts of the document, rendered once for each language."""

    def __init__(self, settings: PageSettings) -> None:
        self._settings = settings
        self.parts = lru_cache(self._render)

    def _render(self, language: str) -> DocumentParts:
        settings = self._settings
        tabs = {
            "lesion": lesion_tab(settings, language),
            "progress": progress_tab(settings, language),
            "history": history_tab(language),
            "about": about_tab(language),
        }
        return DocumentParts(
            head=render(
                "document_head",
                language,
                settings=settings,
                tabs=tabs,
                disclaimer=DISCLAIMER,
                modules=[path for path in scripts() if path != OFFLINE_SCRIPT],
            ),
            body=render("document_body", language),
            language=language,
            direction=direction(language),
            labels=dict(
                zip(tab_labels(DEFAULT_LANGUAGE).values(), tab_labels(language).values(), strict=True)
            ),
        )
