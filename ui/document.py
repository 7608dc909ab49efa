"""What the page adds to Gradio's HTML document: templates of all tabs, texts, scripts; one per language."""

from functools import lru_cache

from serve.schemas import DISCLAIMER, PHOTO_FORMAT_NAMES
from ui.gradio_internals import DocumentParts
from ui.memory_files import scripts
from ui.rendering import render
from ui.settings import PageSettings
from ui.tabs.about import about_tab
from ui.tabs.lesion import lesion_tab
from ui.tabs.progress import progress_tab


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
            "about": about_tab(language),
        }
        return DocumentParts(
            head=render(
                "document_head",
                language,
                settings=settings,
                tabs=tabs,
                disclaimer=DISCLAIMER,
                formats=PHOTO_FORMAT_NAMES,
                modules=list(scripts()),
            ),
            body=render("document_body", language),
        )
